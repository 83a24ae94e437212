package ssl

import (
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
)

// Accept returns though no byte came, and does not shake hands; where threads of
// C do, it returns when they have given the client up.
func TestListenerAccept(t *testing.T) {
	cfg := serverConfig()
	cfg.HandshakeTimeout = 50 * time.Millisecond
	ctx := newContext(t, cfg)
	path := filepath.Join(t.TempDir(), "s")
	for _, x := range []struct{ network, address string }{{"tcp", "127.0.0.1:0"}, {"tcp4", "127.0.0.1:0"}, {"unix", path}} {
		t.Run(x.network, func(t *testing.T) {
			l, err := Listen(x.network, x.address, ctx)
			if err != nil {
				t.Fatal(err)
			}
			nc, err := net.Dial(l.Addr().Network(), l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if s, ok := c.(*Conn); !ok || !s.IsServer() || s.Context() != sessioncb.Context(ctx) {
				t.Errorf("Accept returned %T", c)
			}
			l.Close()
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept of a closed Listener: %v", err)
			}
		})
	}
}
