package fleettest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/sessioncb/openssl/internal/sealed"
	"github.com/sessioncb/openssl/internal/testserver"
	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/sessioncb/redisstore"
	"github.com/sessioncb/openssl/ssl"
)

// Where the fields of an envelope begin: see docs/decisions/0007-envelope.md.
const (
	keyIDAt   = 4
	saltAt    = 12
	idTagAt   = 44
	expiryAt  = 52
	lengthAt  = 60
	contextAt = 61
	sealedAt  = contextAt + 32
)

// A lookups is one way to count them.
type lookups = sessioncb.LookupStats

// alteredAt is what a lookup is that finds a byte of an envelope altered.
func alteredAt(at int) lookups {
	switch {
	case at < keyIDAt:
		return lookups{OtherFormat: 1}
	case at < saltAt:
		return lookups{OtherKey: 1}
	case at < expiryAt: // the tag of the id depends on the salt
		return lookups{OtherID: 1}
	}
	return lookups{Damaged: 1}
}

// minus returns what was counted since before.
func minus(after, before lookups) lookups {
	return lookups{
		Hit: after.Hit - before.Hit, Miss: after.Miss - before.Miss, Junk: after.Junk - before.Junk,
		Expired: after.Expired - before.Expired, OtherContext: after.OtherContext - before.OtherContext,
		OtherKey: after.OtherKey - before.OtherKey, OtherID: after.OtherID - before.OtherID,
		OtherFormat: after.OtherFormat - before.OtherFormat, Damaged: after.Damaged - before.Damaged,
		TooLarge: after.TooLarge - before.TooLarge, Timeout: after.Timeout - before.Timeout,
		Canceled: after.Canceled - before.Canceled, Busy: after.Busy - before.Busy,
		BreakerOpen: after.BreakerOpen - before.BreakerOpen, Error: after.Error - before.Error,
	}
}

// hostile is a node, the store that it asks, and who writes in that store
// behind its back.
type hostile struct {
	node  *node
	setup nodeSetup
	store sessioncb.Store
}

func newHostile(t *testing.T, s nodeSetup) *hostile {
	t.Helper()
	s.Redis = testserver.Redis(t).Addr()
	client := redis.NewClient(&redis.Options{Addr: s.Redis, ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	store, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &hostile{local(t, s), s, store}
}

// stored is a session of a client, and what the store has of it.
type stored struct {
	session *ssl.Session
	key     sessioncb.Key
	value   []byte
}

// stores has a client visit the node.
func (h *hostile) stores(t testing.TB, client *visitor) stored {
	t.Helper()
	r := client.meets(h.node, 0, "localhost", nil, false)
	s := stored{session: client.last(), key: sessioncb.Key{ID: r.ID}}
	var err error
	if s.value, err = h.store.Get(t.Context(), s.key); err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *hostile) puts(t testing.TB, key sessioncb.Key, value []byte) {
	t.Helper()
	if err := h.store.Put(t.Context(), key, value, time.Hour); err != nil {
		t.Fatal(err)
	}
}

// lookupConn is a connection as a lookup sees it.
type lookupConn struct {
	sealed.Mark
	version   uint16
	idContext []byte
}

func (c *lookupConn) Version() uint16            { return c.version }
func (c *lookupConn) Context() sessioncb.Context { return nil }
func (c *lookupConn) IsServer() bool             { return true }
func (c *lookupConn) ServerName() string         { return "" }
func (c *lookupConn) SessionIDContext() []byte   { return c.idContext }
func (c *lookupConn) RemoteAddr() net.Addr       { return nil }

// oneValue is a store that answers with it.
type oneValue struct{ value []byte }

func (s *oneValue) Get(context.Context, sessioncb.Key) ([]byte, error) {
	return bytes.Clone(s.value), nil
}
func (s *oneValue) Put(context.Context, sessioncb.Key, []byte, time.Duration) error { return nil }
func (s *oneValue) Delete(context.Context, sessioncb.Key) error                     { return nil }

// No bit of a value can be another, and none of it can be missing: each of them
// and every length is tried, on the value of a real session with a certificate.
func TestEveryBitOfAValue(t *testing.T) {
	s := nodeSetup{Keys: [][]byte{sessioncb.GenerateKey()}, Hosts: []host{mutual("ca.pem", 0)}}
	h := newHostile(t, s)
	eachVersion(t, func(t *testing.T, version uint16) {
		v := h.stores(t, newVisitor(t, visitorConfig(version, "client")))
		ring, err := sessioncb.NewKeyRing(s.Keys...)
		if err != nil {
			t.Fatal(err)
		}
		store := &oneValue{}
		cache, err := sessioncb.NewCache(store, sessioncb.CacheOptions{
			Keys: ring, Logger: slog.New(slog.DiscardHandler), LookupTimeout: patience,
		})
		if err != nil {
			t.Fatal(err)
		}
		conn := &lookupConn{version: version, idContext: h.node.contexts[0].SessionIDContext()}
		find := func(why string, value []byte, want lookups) {
			t.Helper()
			store.value = value
			before := cache.Stats().Lookups
			a, err := cache.GetSession(t.Context(), conn, v.key.ID)
			if got := minus(cache.Stats().Lookups, before); got != want {
				t.Fatalf("%s: %+v, want %+v", why, got, want)
			}
			if hit := want.Hit == 1; hit == (a.Encoded() == nil) || hit == (err != nil) {
				t.Fatalf("%s: %d bytes, %v", why, len(a.Encoded()), err)
			}
		}
		find("as it was", v.value, lookups{Hit: 1})
		for bit := range 8 * len(v.value) {
			altered := bytes.Clone(v.value)
			altered[bit/8] ^= 1 << (bit % 8)
			find(fmt.Sprintf("bit %d of byte %d", bit%8, bit/8), altered, alteredAt(bit/8))
		}
		for n := range v.value {
			find(fmt.Sprintf("cut to %d bytes", n), v.value[:n], lookups{Damaged: 1})
		}
		find("as it was", v.value, lookups{Hit: 1})
		t.Logf("%d bits of %d bytes", 8*len(v.value), len(v.value))
	})
}

// sealedBy seals the session in a value anew, or another in its place.
func (s *stored) sealedBy(t testing.TB, owner, ring [][]byte, change func(*sessioncb.Record)) []byte {
	t.Helper()
	r, err := codec(t, owner).Decode(s.key, bytes.Clone(s.value))
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&r)
	}
	value, err := codec(t, ring).Encode(s.key, r)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func codec(t testing.TB, keys [][]byte) sessioncb.Codec {
	t.Helper()
	ring, err := sessioncb.NewKeyRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return ring.Codec()
}

// planted returns an encoded session with a certificate that its client never
// showed.
func planted(t testing.TB, der []byte) []byte {
	t.Helper()
	f := fieldsOf(t, der)
	if f.field(peerField) != nil {
		t.Fatal("the session has a certificate already: this shows nothing")
	}
	f.set(peerField, leaf(t, "client"))
	return f.encode(t)
}

// Whatever a store makes of the values is a miss under its name: the handshake
// goes on, and with the value as it was the session resumes.
func TestHostileStore(t *testing.T) {
	newest, older, dropped := sessioncb.GenerateKey(), sessioncb.GenerateKey(), sessioncb.GenerateKey()
	own, old, foreign := [][]byte{newest}, [][]byte{older}, [][]byte{dropped}
	h := newHostile(t, nodeSetup{Keys: [][]byte{newest, older}, Hosts: []host{{CA: "ca.pem", Verify: ssl.VerifyPeer}}})

	type row struct {
		name  string
		value func(t testing.TB, s, other stored) []byte
		want  lookups
	}
	// With the name of the ring's key on it.
	pretending := func(value, of []byte) []byte {
		copy(value[keyIDAt:saltAt], of[keyIDAt:saltAt])
		return value
	}
	plant := func(t testing.TB) func(r *sessioncb.Record) {
		return func(r *sessioncb.Record) { r.DER = planted(t, r.DER) }
	}
	plain := func(t testing.TB, s stored) (der []byte) {
		s.sealedBy(t, own, own, func(r *sessioncb.Record) { der = bytes.Clone(r.DER) })
		return der
	}
	rows := []row{
		{"sealed under an older key of the ring", func(t testing.TB, s, _ stored) []byte { return s.sealedBy(t, own, old, nil) }, lookups{Hit: 1}},
		{"sealed under a key that was dropped", func(t testing.TB, s, _ stored) []byte { return s.sealedBy(t, own, foreign, nil) }, lookups{OtherKey: 1}},
		{"sealed under another key with the name of ours", func(t testing.TB, s, _ stored) []byte {
			return pretending(s.sealedBy(t, own, foreign, nil), s.value)
		}, lookups{Damaged: 1}},
		{"the value of another id", func(_ testing.TB, _, other stored) []byte { return other.value }, lookups{OtherID: 1}},
		{"the value of another id with the tag of this", func(_ testing.TB, s, other stored) []byte {
			return slices.Concat(other.value[:saltAt], s.value[saltAt:expiryAt], other.value[expiryAt:])
		}, lookups{Damaged: 1}},
		{"the head of one and the body of another", func(_ testing.TB, s, other stored) []byte {
			return append(bytes.Clone(s.value[:sealedAt]), other.value[sealedAt:]...)
		}, lookups{Damaged: 1}},
		{"a longer life", func(_ testing.TB, s, _ stored) []byte {
			v := bytes.Clone(s.value)
			binary.BigEndian.PutUint64(v[expiryAt:], binary.BigEndian.Uint64(v[expiryAt:])+3600)
			return v
		}, lookups{Damaged: 1}},
		{"plain DER", func(t testing.TB, s, _ stored) []byte { return plain(t, s) }, lookups{OtherFormat: 1}},
		{"plain DER with a certificate planted", func(t testing.TB, s, _ stored) []byte { return planted(t, plain(t, s)) }, lookups{OtherFormat: 1}},
		{"a certificate planted, sealed under another key", func(t testing.TB, s, _ stored) []byte {
			return s.sealedBy(t, own, foreign, plant(t))
		}, lookups{OtherKey: 1}},
		{"a certificate planted, sealed under another key with the name of ours", func(t testing.TB, s, _ stored) []byte {
			return pretending(s.sealedBy(t, own, foreign, plant(t)), s.value)
		}, lookups{Damaged: 1}},
		{"JSON", func(testing.TB, stored, stored) []byte { return []byte(`{"session": null}`) }, lookups{OtherFormat: 1}},
		{"the next version of the format", func(_ testing.TB, s, _ stored) []byte {
			return append([]byte("scb\x02"), s.value[4:]...)
		}, lookups{OtherFormat: 1}},
		{"nothing", func(testing.TB, stored, stored) []byte { return []byte{} }, lookups{Damaged: 1}},
		{"1 MiB of zeros", func(testing.TB, stored, stored) []byte { return make([]byte, 1<<20) }, lookups{TooLarge: 1}},
		{"the value, and zeros up to 1 MiB", func(_ testing.TB, s, _ stored) []byte {
			return append(bytes.Clone(s.value), make([]byte, 1<<20-len(s.value))...)
		}, lookups{TooLarge: 1}},
		{"the value, and a byte", func(_ testing.TB, s, _ stored) []byte { return append(bytes.Clone(s.value), 0) }, lookups{Damaged: 1}},
	}
	for _, at := range []int{0, 3, keyIDAt, saltAt - 1, saltAt, idTagAt - 1, idTagAt, expiryAt - 1, expiryAt, lengthAt - 1,
		lengthAt, contextAt, sealedAt - 1, sealedAt, sealedAt + 50, -17, -16, -1} {
		rows = append(rows, row{fmt.Sprintf("byte %d altered", at), func(_ testing.TB, s, _ stored) []byte {
			v := bytes.Clone(s.value)
			v[(at+len(v))%len(v)] ^= 0x10
			return v
		}, alteredAt((at + 1000) % 1000)})
	}
	for _, n := range []int{1, 3, 4, lengthAt, contextAt, sealedAt, sealedAt + 16, -1} {
		rows = append(rows, row{fmt.Sprintf("cut to %d bytes", n), func(_ testing.TB, s, _ stored) []byte {
			return s.value[:(n+len(s.value))%len(s.value)]
		}, lookups{Damaged: 1}})
	}
	eachVersion(t, func(t *testing.T, version uint16) {
		client := newVisitor(t, visitorConfig(version, ""))
		other := h.stores(t, client)
		for _, x := range rows {
			t.Run(x.name, func(t *testing.T) {
				s := h.stores(t, client)
				h.puts(t, s.key, x.value(t, s, other))
				before := h.node.counters().Cache.Lookups
				r := client.meets(h.node, 0, "localhost", s.session, x.want.Hit == 1)
				if diff := cmp.Diff(x.want, minus(h.node.counters().Cache.Lookups, before)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if said := len(r.Handlers) == 1; said == (x.want.Hit == 1) || len(r.Peer) > 0 {
					t.Errorf("the handlers' errors are %q, %d certificates", r.Handlers, len(r.Peer))
				}
				h.puts(t, s.key, s.value)
				client.meets(h.node, 0, "localhost", s.session, true)
			})
		}
	})
}

// What docs/security.md says of InsecurePlaintext: who writes the store can be
// any client. A session without a certificate, into which one was planted,
// resumes as a client that never was there.
func TestPlantedCertificateInPlaintext(t *testing.T) {
	h := newHostile(t, nodeSetup{Plaintext: true, Hosts: []host{{CA: "ca.pem", Verify: ssl.VerifyPeer}}})
	eachVersion(t, func(t *testing.T, version uint16) {
		anonymous := newVisitor(t, visitorConfig(version, ""))
		s := h.stores(t, anonymous)
		if r := anonymous.meets(h.node, 0, "localhost", s.session, true); len(r.Peer) != 0 {
			t.Fatal("an anonymous client has a certificate: this shows nothing")
		}
		h.puts(t, s.key, planted(t, s.value))
		r := anonymous.meets(h.node, 0, "localhost", s.session, true)
		if len(r.Peer) != 1 || !bytes.Equal(r.Peer[0], leaf(t, "client")) {
			t.Errorf("%d certificates; if a planted one is refused now, docs/security.md should say so", len(r.Peer))
		}
	})
}

// What docs/security.md says of sealed values: who writes the store can turn
// back time, for a session that was deleted and for one that was claimed, until
// the end that is sealed in it.
func TestStoreTurnsBackTime(t *testing.T) {
	for _, singleUse := range []bool{false, true} {
		t.Run(fmt.Sprintf("SingleUse %v", singleUse), func(t *testing.T) {
			h := newHostile(t, nodeSetup{Keys: [][]byte{sessioncb.GenerateKey()}, SingleUse: singleUse, Hosts: []host{{}}, MissTTL: -1})
			eachVersion(t, func(t *testing.T, version uint16) {
				client := newVisitor(t, visitorConfig(version, ""))
				s := h.stores(t, client)
				if err := h.store.Delete(t.Context(), s.key); err != nil {
					t.Fatal(err)
				}
				client.meets(h.node, 0, "localhost", s.session, false)
				for range 2 {
					h.puts(t, s.key, s.value)
					client.meets(h.node, 0, "localhost", s.session, true)
				}
			})
		})
	}
}
