package ssl

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/livestore"
)

// A benchKind is a kind of handshake: how the server resumes.
type benchKind struct {
	name   string
	lookup bool // the session comes from a GetHandler
	config func(b *testing.B, cfg *Config)
}

func stateful(cfg *Config, cb sessioncb.Callbacks) {
	cfg.SessionCallbacks = cb
	cfg.SessionCacheMode, cfg.Tickets, cfg.NumTickets = CacheExternal, TicketsStateful, 1
}

// benchKinds are tickets that hold the session, and ids (in TLS 1.3 tickets that
// are ids) of a map of encoded sessions, and of live ones.
var benchKinds = []benchKind{
	{"ticket", false, func(*testing.B, *Config) {}},
	{"id/map", true, func(_ *testing.B, cfg *Config) { stateful(cfg, newStore().callbacks()) }},
	{"id/live", true, func(b *testing.B, cfg *Config) {
		store, err := livestore.New(livestore.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { store.Close() })
		if cfg.SessionCache, err = sessioncb.NewCache(store, sessioncb.CacheOptions{}); err != nil {
			b.Fatal(err)
		}
	}},
}

// BenchmarkHandshake is both sides in one process, from the sockets to the end
// of Handshake, and their ends.
func BenchmarkHandshake(b *testing.B) {
	for _, resume := range []bool{false, true} {
		for _, version := range versions {
			for _, kind := range benchKinds {
				for _, tr := range transports {
					name := fmt.Sprintf("%s/tls%s/%s/%s", map[bool]string{false: "full", true: "resumed"}[resume],
						tls.VersionName(version)[4:], kind.name, tr.name)
					b.Run(name, func(b *testing.B) { benchmarkHandshake(b, version, resume, kind, tr.wrap) })
				}
			}
		}
	}
}

func benchmarkHandshake(b *testing.B, version uint16, resume bool, kind benchKind, wrap func(net.Conn) net.Conn) {
	cfg := serverConfig()
	kind.config(b, &cfg)
	server := newContext(b, cfg)
	client, got := newClient(b, version)
	visit(b, server, client, nil)
	var offer *Session
	if resume {
		offer = got.last(b)
	}
	before := server.Stats()
	b.ReportAllocs()
	for b.Loop() {
		s, c := connect(b, server, client, &ClientOptions{Session: offer}, wrap)
		s.Close()
		c.Close()
	}
	after := server.Stats()
	var want int64
	if resume {
		want = int64(b.N)
	}
	if hits := after.Hits - before.Hits; hits != want {
		b.Errorf("%d of %d handshakes were resumptions, want %d", hits, b.N, want)
	}
	if !kind.lookup {
		want = 0
	}
	if hits := after.CallbackHits - before.CallbackHits; hits != want {
		b.Errorf("%d of %d handshakes had a session of the handler, want %d", hits, b.N, want)
	}
}

// BenchmarkNewConn is SSL_new and what goes with it. SSL_free, which leaves the
// transport to the next one, is not measured.
func BenchmarkNewConn(b *testing.B) {
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			server := newContext(b, serverConfig())
			_, nc := sockets(b)
			b.ReportAllocs()
			for b.Loop() {
				s, err := newConn("server", tr.wrap(nc), server, true, nil)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				s.free(true)
				s.tr.established() // as the handshake's end does
				b.StartTimer()
			}
		})
	}
}

// BenchmarkClose is close_notify, SSL_free and the end of the transport.
func BenchmarkClose(b *testing.B) {
	for _, tr := range transports {
		b.Run(tr.name, func(b *testing.B) {
			server := newContext(b, serverConfig())
			client, _ := newClient(b, tls.VersionTLS13)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				s, c := connect(b, server, client, nil, tr.wrap)
				b.StartTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				c.Close()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkConnectionState is that of a server whose handshake is done.
func BenchmarkConnectionState(b *testing.B) {
	for _, who := range memoryClients {
		b.Run(who.name, func(b *testing.B) {
			server := newContext(b, mutual())
			client, _ := clientAs(b, tls.VersionTLS13, who.is)
			s, _ := connect(b, server, client, nil, nil)
			b.ReportAllocs()
			for b.Loop() {
				if st := s.ConnectionState(); !st.HandshakeComplete || len(st.PeerCertificates) != len(who.is) {
					b.Fatalf("complete is %v, with %d certificates", st.HandshakeComplete, len(st.PeerCertificates))
				}
			}
		})
	}
}

// BenchmarkSession is a server's session, without and with a client's
// certificate.
func BenchmarkSession(b *testing.B) {
	for _, who := range memoryClients {
		_, _, conn, _ := cached(b, memoryCaches[1].open(b), who.is)
		s := conn.Session()
		der := marshal(b, s)
		b.Run("MarshalBinary/"+who.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if again, err := s.MarshalBinary(); err != nil || len(again) != len(der) {
					b.Fatal(len(again), err)
				}
			}
		})
		b.Run("Parse/"+who.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p, err := ParseSession(der)
				if err != nil {
					b.Fatal(err)
				}
				p.Close()
			}
		})
		b.Run("Dup/"+who.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p, err := s.Dup()
				if err != nil {
					b.Fatal(err)
				}
				p.Close()
			}
		})
		s.Close()
	}
}
