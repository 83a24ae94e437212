package ssl

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/sessioncb/openssl/sessioncb"
)

// Explain names, for each kind of Context, the way by which its clients resume.
func TestExplain(t *testing.T) {
	st := newStore()
	for _, x := range []struct {
		name string
		cfg  func(*Config)
		want map[string]string // by the word before the colon, a part of the line
	}{
		{"defaults", func(*Config) {}, map[string]string{
			"TLS 1.2":             "stateless ticket",
			"TLS 1.3":             "stateless ticket: the session itself, sealed by OpenSSL under a key of this Context, which no other process has and which ends with it; no handler is asked for it; 2 a full handshake",
			"early data":          "none: MaxEarlyData is 0",
			"lifetime":            "2h0m0s for each session; in TLS 1.3 each resumption begins a new one, until 24h0m0s after",
			"client certificates": "not asked for",
			"client":              "no: there are no CA certificates",
			"session id context":  "derived from",
		}},
		{"cache", func(c *Config) { c.SessionCache = newMemoryCache(t) }, map[string]string{
			"TLS 1.2": "session id, because SessionCache is set; it is found by the SessionCache, in every process",
			"TLS 1.3": "stateful ticket, a key of 32 bytes, 1 a full handshake, because SessionCache is set; it is found by the SessionCache",
		}},
		{"handlers, internal lookup first", func(c *Config) {
			c.SessionCallbacks, c.Tickets = st.callbacks(), TicketsStateful
		}, map[string]string{
			"TLS 1.2": "found by the internal cache of this SSL_CTX, in this process alone, then by the Get handler",
		}},
		{"none", func(c *Config) { c.Tickets = TicketsNone }, map[string]string{
			"TLS 1.2": "does not resume: Tickets is TicketsNone",
			"TLS 1.3": "does not resume: Tickets is TicketsNone",
		}},
		{"nothing finds", func(c *Config) { c.SessionCacheMode = CacheOff }, map[string]string{
			"TLS 1.2": "nobody finds it again",
		}},
		{"one version, no tickets", func(c *Config) { c.MinVersion, c.NumTickets = tls.VersionTLS13, -1 }, map[string]string{
			"TLS 1.2": "not spoken",
			"TLS 1.3": "does not resume: NumTickets",
		}},
		{"the other version", func(c *Config) { c.MaxVersion, c.MaxResumptionAge = tls.VersionTLS12, -1 }, map[string]string{
			"TLS 1.3":  "not spoken",
			"lifetime": "without end",
		}},
		{"mutual", func(c *Config) {
			*c = mutual()
			c.Verify, c.SessionIDContext = VerifyRequired, []byte("mine")
		}, map[string]string{
			"client certificates": "required and verified",
			"session id context":  "6d696e65, as configured",
			"client":              "there is no New handler",
		}},
		{"client", func(c *Config) {
			*c = clientConfig()
			c.SessionCallbacks.New = st
		}, map[string]string{
			"server": "no: the Context has no certificate",
			"client": "the New handler is told",
		}},
		{"hosts", func(c *Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*Context, error) { return nil, nil }
		}, map[string]string{"virtual hosts": "GetConfigForClient chooses"}},
		{"single use and early data", func(c *Config) {
			c.SessionCallbacks = st.callbacks()
			c.SessionCallbacks.Get = once{st}
			c.MaxEarlyData = 1000
		}, map[string]string{
			"single use": "once in the whole fleet",
			"early data": "up to 1000 bytes",
			"TLS 1.3":    "found by the Get handler",
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			cfg := serverConfig()
			x.cfg(&cfg)
			lines := map[string]string{}
			text := newContext(t, cfg).Explain()
			for line := range strings.Lines(text) {
				subject, rest, ok := strings.Cut(line, ": ")
				if !ok || lines[subject] != "" {
					t.Errorf("%q", line)
				}
				lines[subject] = rest
			}
			for subject, want := range x.want {
				if !strings.Contains(lines[subject], want) {
					t.Errorf("%s: %q does not say %q", subject, lines[subject], want)
				}
			}
		})
	}
}

// once is a handler that says that it answers with each session once.
type once struct{ sessioncb.GetHandler }

func (once) SingleUse() bool { return true }
