package sessioncb_test

import (
	"fmt"
	"log"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// What an operator without the keys sees of a value in the store.
func ExampleParseEnvelope() {
	keys := []byte("07c40dcafffe9ce6:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=\n")
	parsed, err := sessioncb.ParseKeys(keys)
	if err != nil {
		log.Fatal(err)
	}
	ring, err := sessioncb.NewKeyRing(parsed...)
	if err != nil {
		log.Fatal(err)
	}
	value, err := ring.Codec().Encode(sessioncb.Key{ID: []byte("an id")}, sessioncb.Record{
		DER: []byte("0\x01x"), IDContext: []byte("www"), Expires: time.Unix(1_750_000_000, 0),
	})
	if err != nil {
		log.Fatal(err)
	}
	e, err := sessioncb.ParseEnvelope(value)
	fmt.Printf("%s %q %v %v\n", e.KeyID, e.IDContext, e.Expires.UTC(), err)
	// Output: 07c40dcafffe9ce6 "www" 2025-06-15 15:06:40 +0000 UTC <nil>
}
