package ssl

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/sessioncb/openssl/internal/chost"
	"github.com/sessioncb/openssl/sessioncb"
)

// The callbacks of an SSL are those of the SSL_CTX it was made with, whatever
// it was switched to since; the events reach the Attachment of that one.
func TestAttachBirthContext(t *testing.T) {
	for _, x := range []struct {
		name  string
		birth chost.Birth
		owner string // whose handlers are called
	}{
		{"SSL_new", chost.Plain, "first"},
		{"SSL_set_SSL_CTX in the servername callback", chost.SwitchSNI, "first"},
		{"SSL_dup", chost.Dup, "first"},
		// SSL_dup makes the new SSL with the SSL_CTX that the old one has by then.
		{"SSL_set_SSL_CTX, then SSL_dup", chost.SwitchDup, "second"},
	} {
		t.Run(x.name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, version uint16) {
				balanced(t)
				o := chost.Options{Version: version, CacheMode: chost.NoInternal, Tickets: 1}
				second := newHost(t, o)
				o.Birth, o.Second = x.birth, second.Server
				first := newHost(t, o)

				type seat struct {
					host  *host
					calls *calls
					a     *Attachment
				}
				seats := map[string]*seat{"first": {host: first}, "second": {host: second}}
				for name, s := range seats {
					s.calls = &calls{}
					v := &viewer{seen: map[string]view{}}
					s.a = s.host.attach(sessioncb.Callbacks{
						New: both{s.calls, v}, Get: both{s.calls, v}, Remove: s.calls,
					}, &AttachOptions{Name: name})
					t.Cleanup(func() {
						for handler, got := range v.seen {
							if got.Context != name || x.owner != name {
								t.Errorf("%s: the Conn of a call of %s says that its context is %q", handler, name, got.Context)
							}
						}
					})
				}
				first.start()
				client, got := newClient(t, version)
				first.finish(first.connect(client, nil))
				c := first.connect(client, got.last(t))
				first.order(c, 'F')
				settleOf(seats["first"].a)
				settleOf(seats["second"].a)

				none := map[string]int64{"New": 0, "Get": 0, "Remove": 0}
				want := map[string]map[string]int64{"first": none, "second": none}
				want[x.owner] = map[string]int64{"New": 2, "Get": 1, "Remove": 1}
				for name, s := range seats {
					if d := cmp.Diff(want[name], s.calls.list()); d != "" {
						t.Errorf("calls of %s (-want +got):\n%s", name, d)
					}
				}
			})
		})
	}
}

// both is two handlers in one call: it counts, and looks at the connection.
type both struct {
	*calls
	*viewer
}

func (b both) NewSession(ctx context.Context, c sessioncb.Conn, s sessioncb.Session) bool {
	b.viewer.look("New", c)
	return b.calls.NewSession(ctx, c, s)
}

func (b both) GetSession(ctx context.Context, c sessioncb.Conn, id []byte) (sessioncb.Answer, error) {
	b.viewer.look("Get", c)
	return b.calls.GetSession(ctx, c, id)
}
