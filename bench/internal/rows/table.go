package rows

import "time"

// The peers. C keeps bytes, references, or leaves all to OpenSSL's own cache;
// ours does the first two, the prototype the first; the others do what they can.
func c(store string) Peer         { return Peer{Name: "c", Program: "cserver", Store: store} }
func ours(store string) Peer      { return Peer{Name: Ours, Program: "ours", Store: store} }
func prototype(store string) Peer { return Peer{Name: Prototype, Program: "prototype", Store: store} }
func cryptotls(store string) Peer { return Peer{Name: "cryptotls", Program: "cryptotls", Store: store} }
func goopenssl(store string) Peer { return Peer{Name: "goopenssl", Program: "goopenssl", Store: store} }
func node(store string) Peer      { return Peer{Name: "node", Program: "node", Store: store} }

var (
	cRef      = Peer{Name: "c-ref", Program: "cserver", Store: "ref"}
	cInternal = Peer{Name: "c-internal", Program: "cserver", Store: "internal"}
	// What a program can do beyond its TLS server: an allocator of its own for
	// libcrypto, four records a recv and eight a send. Beside the others, not under them.
	cTuned    = Peer{Name: "c-tuned", Program: "cserver", Store: "none", Flags: []string{"-tuned"}}
	cTunedDER = Peer{Name: "c-tuned", Program: "cserver", Store: "der", Flags: []string{"-tuned"}}
	cRelease  = Peer{Name: "c-release", Program: "cserver", Store: "none", Flags: []string{"-release-buffers"}}
)

// everyone does work that needs no session store.
func everyone() []Peer {
	return []Peer{c("none"), cTuned, ours("none"), prototype("none"), cryptotls("none"), goopenssl("none"), node("none")}
}

// Certificates, files of testdata/certs.
const (
	ECDSA = "server"
	RSA   = "server-rsa"
)

// All returns the rows in the order of the table.
func All() []*Row {
	return []*Row{
		resume("resume-1.2-der", "TLS 1.2 resumption by id, external store of bytes", "1.2",
			c("der"), cTunedDER, ours("der"), prototype("der"), cryptotls("tickets"), goopenssl("internal"), node("der")),
		resume("resume-1.2-ref", "TLS 1.2 resumption by id, in-process store that keeps references", "1.2",
			c("der"), cRef, cInternal, ours("ref")),
		resume("resume-1.3-der", "TLS 1.3 resumption, stateful ticket, external store of bytes", "1.3",
			c("der"), cTunedDER, ours("der"), prototype("der"), cryptotls("tickets"), goopenssl("internal")),
		resume("resume-1.3-ref", "TLS 1.3 resumption, stateful ticket, in-process store that keeps references", "1.3",
			c("der"), cRef, cInternal, ours("ref")),
		full("full-ecdsa-1.2", "Full handshake, ECDSA P-256, TLS 1.2", "1.2", ECDSA),
		full("full-ecdsa-1.3", "Full handshake, ECDSA P-256, TLS 1.3", "1.3", ECDSA),
		full("full-rsa-1.2", "Full handshake, RSA-2048, TLS 1.2", "1.2", RSA),
		full("full-rsa-1.3", "Full handshake, RSA-2048, TLS 1.3", "1.3", RSA),
		data("echo-32", "64-byte request and answer, 32 connections", "echo", "echo", 32, 64),
		data("echo-1", "64-byte request and answer, 1 connection", "echo", "echo", 1, 64),
		data("down-8", "Bulk from the server, 16 KiB, 8 connections", "source", "down", 8, 0),
		data("up-8", "Bulk to the server, 16 KiB, 8 connections", "sink", "up", 8, 0),
		idle(),
		p99(),
		parked(),
		mutual("resume-1.2-mtls-der", "TLS 1.2 resumption with a client certificate, external store of bytes", "1.2",
			c("der"), ours("der")),
		mutual("resume-1.2-mtls-ref", "TLS 1.2 resumption with a client certificate, store that keeps references", "1.2",
			cRef, ours("ref")),
		mutual("resume-1.3-mtls-ref", "TLS 1.3 resumption with a client certificate, store that keeps references", "1.3",
			cRef, ours("ref")),
		resume("resume-1.2-cache", "TLS 1.2 resumption by id, sealed sessioncb.Cache in memory; C's bytes are plain", "1.2",
			c("der"), ours("cache")),
	}
}

// Quick are the names of the rows of make bench-quick.
var Quick = []string{"resume-1.2-der", "resume-1.3-der", "full-ecdsa-1.3", "echo-32", "down-8"}

func resume(name, title, version string, peers ...Peer) *Row {
	return &Row{
		Name: name, Title: title, Metric: Rate, Work: "handshake", Load: "resume", Version: version,
		Cert: ECDSA, Conns: 32, Base: peers[0].Name, Peers: peers,
	}
}

func mutual(name, title, version string, peers ...Peer) *Row {
	r := resume(name, title, version, peers...)
	r.Mutual = true
	return r
}

func full(name, title, version, cert string) *Row {
	return &Row{
		Name: name, Title: title, Metric: Rate, Work: "handshake", Load: "full", Version: version,
		Cert: cert, Conns: 32, Base: "c", Peers: everyone(),
	}
}

func data(name, title, work, load string, conns, size int) *Row {
	return &Row{
		Name: name, Title: title, Metric: Rate, Work: work, Load: load, Version: "1.3",
		Cert: ECDSA, Conns: conns, Size: size, Base: "c", Peers: everyone(),
	}
}

// idle needs few rounds: memory does not depend on who else runs. Each
// connection has echoed once, so that no handshake is still under way.
func idle() *Row {
	return &Row{
		Name: "idle", Title: "KiB per idle connection, 2,000 connections, TLS 1.3", Metric: Memory,
		Work: "echo", Load: "idle", Version: "1.3", Cert: ECDSA, Conns: 2000, Base: "c", Rounds: 5,
		Peers: []Peer{c("none"), cRelease, ours("none"), prototype("none"), cryptotls("none"), goopenssl("none"), node("none")},
	}
}

func p99() *Row {
	r := full("p99-full-1.3", "p99 of full TLS 1.3 handshakes at saturation, 32 connections", "1.3", ECDSA)
	r.Metric = P99
	return r
}

// Waiting is how many lookups wait at once in parked-lookups, at least.
const Waiting = 500

// Delays are how long they wait: the first by which Waiting is reached.
var Delays = []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond}

// parked has more connections than lookups that are to wait: the others are
// in some other part of their handshake. C has no part in it: there a lookup
// that waits holds up every connection. A server that makes fewer than 10,000
// handshakes in a second has fewer lookups that wait; then the driver has them
// wait longer, which Delays lists.
func parked() *Row {
	return &Row{
		Name: "parked-lookups", Title: "OS threads while 500 lookups wait, TLS 1.2", Metric: Threads,
		Work: "handshake", Load: "resume", Version: "1.2", Cert: ECDSA, Conns: 1000,
		Delay: Delays[0], Warmup: 2 * time.Second, Base: Ours, Peers: []Peer{ours("der")}, Rounds: 5,
	}
}
