package ssl_test

import (
	"fmt"
	"log"

	"github.com/sessioncb/openssl/ssl"
)

// After a peak: nothing is left, and its memory goes back to the system.
func ExampleFreeOSMemory() {
	before := ssl.LiveObjects()
	ctx, err := ssl.NewContext(ssl.Config{Verify: ssl.VerifyNone})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("alive:", ssl.LiveObjects().Contexts > 0)
	if err := ctx.Close(); err != nil {
		log.Fatal(err)
	}
	ssl.FreeOSMemory()
	fmt.Println("left:", ssl.LiveObjects().Contexts > before.Contexts)
	// Output:
	// alive: true
	// left: false
}
