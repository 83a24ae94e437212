package sessioncb

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var (
	sealTime = time.Unix(1_750_000_000, 0)
	sealID   = []byte("\x00session id of 32 bytes, or so.\xff")
	sealRec  = Record{DER: []byte("0\x10 a session's DER"), IDContext: []byte("context"), Expires: sealTime}
	sealSalt = [saltSize]byte{0: 1, saltSize - 1: 2}
)

func mustSeal(t testing.TB, key []byte, id []byte, r Record) []byte {
	t.Helper()
	k, err := newRingKey(key)
	if err != nil {
		t.Fatal(err)
	}
	v, err := seal(k, sealSalt, id, r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// open opens a copy: openEnvelope works in place.
func open(r *KeyRing, id, v []byte) (Record, error) {
	return openEnvelope(r.find, id, bytes.Clone(v))
}

func TestSealRoundTrip(t *testing.T) {
	ring := mustRing(t, testKey(1))
	for _, idLen := range []int{1, 31, 32} {
		for _, ctxLen := range []int{0, 1, 32} {
			for _, derLen := range []int{1, 150, 16 << 10} {
				id := bytes.Repeat([]byte{0xff}, idLen)
				want := Record{DER: bytes.Repeat([]byte{'d'}, derLen), IDContext: bytes.Repeat([]byte{'c'}, ctxLen), Expires: sealTime}
				v, err := sealer{ring}.Encode(Key{id}, want)
				if err != nil {
					t.Fatal(err)
				}
				if n := offCtx + ctxLen + derLen + tagSize; len(v) != n || cap(v) != n {
					t.Errorf("length %d and capacity %d, want %d", len(v), cap(v), n)
				}
				got, err := sealer{ring}.Decode(Key{id}, v)
				if err != nil {
					t.Fatalf("id %d, context %d, DER %d: %v", idLen, ctxLen, derLen, err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if got.IDContext == nil {
					t.Error("an empty id context came back as unknown")
				}
			}
		}
	}
}

func TestSealIsNeverTheSame(t *testing.T) {
	ring := mustRing(t, testKey(1))
	a, _ := sealer{ring}.Encode(Key{sealID}, sealRec)
	b, _ := sealer{ring}.Encode(Key{sealID}, sealRec)
	if bytes.Equal(a[offSalt:offIDTag], b[offSalt:offIDTag]) || bytes.Equal(a[offCtx+7:], b[offCtx+7:]) {
		t.Error("two values share a salt or a ciphertext")
	}
	if bytes.Contains(a, sealRec.DER) || bytes.Contains(a, sealID) {
		t.Error("the value shows the session or its id")
	}
}

func TestSealRefuses(t *testing.T) {
	ring := mustRing(t, testKey(1))
	for _, test := range []struct {
		name string
		id   []byte
		r    Record
	}{
		{"no id", nil, sealRec},
		{"long id", make([]byte, 33), sealRec},
		{"long context", sealID, Record{DER: sealRec.DER, IDContext: make([]byte, 33)}},
		{"no DER", sealID, Record{IDContext: []byte("c")}},
	} {
		if v, err := (sealer{ring}).Encode(Key{test.id}, test.r); err == nil || v != nil {
			t.Errorf("%s: sealed", test.name)
		}
	}
}

// TestEnvelopeFormat holds version 1 of the format to recorded bytes: fleets
// of different builds share a store.
func TestEnvelopeFormat(t *testing.T) {
	want, err := os.ReadFile("testdata/envelope1.hex")
	if err != nil {
		t.Fatal(err)
	}
	v := mustSeal(t, testKey(1), sealID, sealRec)
	if got := hex.EncodeToString(v); got != strings.TrimSpace(string(want)) {
		t.Errorf("the format changed:\n got %s\nwant %s", got, want)
	}
}

func TestEveryBitCounts(t *testing.T) {
	ring := mustRing(t, testKey(1), testKey(2))
	v := mustSeal(t, testKey(1), sealID, sealRec)
	want := func(i int) error {
		switch {
		case i < offKeyID:
			return ErrOtherFormat
		case i >= offKeyID && i < offSalt:
			return ErrOtherKey
		case i >= offSalt && i < offExpiry:
			return ErrOtherID // the tag is salted
		}
		return ErrDamaged
	}
	for i := range v {
		for bit := range 8 {
			v[i] ^= 1 << bit
			if r, err := open(ring, sealID, v); err != want(i) || r.DER != nil {
				t.Errorf("byte %d, bit %d: got %v, %v; want %v", i, bit, r, err, want(i))
			}
			v[i] ^= 1 << bit
		}
	}
	if _, err := open(ring, sealID, v); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

// TestSealedTooLongContext: even a good seal does not open an envelope that
// the format does not have.
func TestSealedTooLongContext(t *testing.T) {
	ring := mustRing(t, testKey(1))
	envelope := func(n int) []byte {
		v := mustSeal(t, testKey(1), sealID, Record{DER: sealRec.DER, Expires: sealTime})[:offCtx]
		v[offCtxLen] = byte(n)
		v = append(v, make([]byte, n)...)
		aead, nonce, err := valueCipher(ring.newest(), sealSalt[:])
		if err != nil {
			t.Fatal(err)
		}
		return aead.Seal(v, nonce, sealRec.DER, associated(v, sealID))
	}
	if _, err := open(ring, sealID, envelope(maxIDContext)); err != nil {
		t.Fatalf("the longest context: %v", err)
	}
	if _, err := open(ring, sealID, envelope(maxIDContext+1)); err != ErrDamaged {
		t.Errorf("one byte more: %v, want ErrDamaged", err)
	}
}

// TestForgedIDTag shows that the tag is no proof: with a tag that fits,
// another id still fails.
func TestForgedIDTag(t *testing.T) {
	ring := mustRing(t, testKey(1))
	v := mustSeal(t, testKey(1), sealID, sealRec)
	other := []byte("another id")
	copy(v[offIDTag:], idTag(v[offSalt:offIDTag], other))
	if _, err := open(ring, other, v); err != ErrDamaged {
		t.Errorf("got %v, want ErrDamaged", err)
	}
}

func TestEveryLengthCounts(t *testing.T) {
	ring := mustRing(t, testKey(1))
	v := mustSeal(t, testKey(1), sealID, sealRec)
	for n := range v {
		if _, err := open(ring, sealID, v[:n]); err != ErrDamaged {
			t.Errorf("cut to %d bytes: %v, want ErrDamaged", n, err)
		}
		if _, err := open(ring, sealID, v[n+1:]); err == nil {
			t.Errorf("without its first %d bytes it opens", n+1)
		}
	}
	for _, tail := range []string{"\x00", "x", string(v)} {
		if _, err := open(ring, sealID, append(bytes.Clone(v), tail...)); err != ErrDamaged {
			t.Errorf("%d bytes behind the end: %v, want ErrDamaged", len(tail), err)
		}
	}
}

func TestSwappedRecords(t *testing.T) {
	ring := mustRing(t, testKey(1))
	ids := [][]byte{[]byte("a"), []byte("a\x00"), []byte("\x00a"), []byte("b")}
	for _, of := range ids {
		v := mustSeal(t, testKey(1), of, sealRec)
		for _, asked := range ids {
			want := ErrOtherID
			if bytes.Equal(of, asked) {
				want = nil
			}
			if _, err := open(ring, asked, v); err != want {
				t.Errorf("value of %q asked for as %q: %v, want %v", of, asked, err, want)
			}
		}
	}
	for _, bad := range [][]byte{nil, make([]byte, 33)} {
		if _, err := open(ring, bad, mustSeal(t, testKey(1), []byte("a"), sealRec)); err != ErrDamaged {
			t.Errorf("id of %d bytes: %v", len(bad), err)
		}
	}
}

// TestSplicedHeaders puts parts of one value into another of the same id.
func TestSplicedHeaders(t *testing.T) {
	ring := mustRing(t, testKey(1))
	long := sealRec
	long.Expires = long.Expires.Add(time.Hour)
	a, b := mustSeal(t, testKey(1), sealID, sealRec), mustSeal(t, testKey(1), sealID, long)
	v := bytes.Clone(a)
	copy(v[offExpiry:], b[offExpiry:offCtxLen])
	if bytes.Equal(v, a) {
		t.Fatal("nothing was spliced")
	}
	if _, err := open(ring, sealID, v); err != ErrDamaged {
		t.Errorf("expiry of another value: %v", err)
	}
}

func TestRotationOpensOldValues(t *testing.T) {
	k1, k2 := testKey(1), testKey(2)
	ring := mustRing(t, k1)
	s := sealer{ring}
	old, _ := s.Encode(Key{sealID}, sealRec)
	if err := ring.Rotate(k2); err != nil {
		t.Fatal(err)
	}
	young, _ := s.Encode(Key{sealID}, sealRec)
	for _, test := range []struct {
		name       string
		ring       *KeyRing
		old, young error
	}{
		{"rotated", ring, nil, nil},
		{"not rotated yet", mustRing(t, k1), nil, ErrOtherKey},
		{"told beforehand", mustRing(t, k1, k2), nil, nil},
		{"old key dropped", mustRing(t, k2), ErrOtherKey, nil},
		{"another fleet", ProcessKey(), ErrOtherKey, ErrOtherKey},
	} {
		if _, err := open(test.ring, sealID, old); err != test.old {
			t.Errorf("%s: old value: %v, want %v", test.name, err, test.old)
		}
		if _, err := open(test.ring, sealID, young); err != test.young {
			t.Errorf("%s: young value: %v, want %v", test.name, err, test.young)
		}
	}
}

// FuzzOpenEnvelope: whatever the bytes, openEnvelope returns, with one of its
// errors, or with exactly what was sealed. The seeds in testdata are version
// 1 values under testKey(1) for sealID, and damaged ones.
func FuzzOpenEnvelope(f *testing.F) {
	ring := mustRing(f, testKey(1))
	f.Fuzz(func(t *testing.T, id, v []byte) {
		r, err := open(ring, id, v)
		if err != nil {
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrOtherID) && !errors.Is(err, ErrOtherKey) && !errors.Is(err, ErrOtherFormat) {
				t.Errorf("unexpected error %v", err)
			}
			if r.DER != nil || r.IDContext != nil || !r.Expires.IsZero() {
				t.Errorf("%v came with an error", r)
			}
			return
		}
		key, salt := ring.newest(), [saltSize]byte(v[offSalt:offIDTag])
		again, err := seal(key, salt, id, r)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v, again); diff != "" {
			t.Errorf("opened, but sealing the same does not give the same (-opened +sealed):\n%s", diff)
		}
	})
}

// TestFuzzSeedsReach says that the corpus covers what it is for: a corpus of
// nothing but damaged values would test the first line only.
func TestFuzzSeedsReach(t *testing.T) {
	ring := mustRing(t, testKey(1))
	files, err := filepath.Glob("testdata/fuzz/FuzzOpenEnvelope/*")
	if err != nil {
		t.Fatal(err)
	}
	reached := map[error]int{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var args [][]byte
		for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
			s, err := strconv.Unquote(strings.TrimSuffix(strings.TrimPrefix(line, "[]byte("), ")"))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			args = append(args, []byte(s))
		}
		_, err = open(ring, args[0], args[1])
		reached[err]++
	}
	for _, want := range []error{nil, ErrDamaged, ErrOtherID, ErrOtherKey, ErrOtherFormat} {
		if reached[want] == 0 {
			t.Errorf("no seed ends in %v", want)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	s := sealer{ProcessKey()}
	r := sealRec
	r.DER = make([]byte, 1500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Encode(Key{sealID}, r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	s := sealer{ProcessKey()}
	r := sealRec
	r.DER = make([]byte, 1500)
	v, err := s.Encode(Key{sealID}, r)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, len(v))
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, v)
		if _, err := s.Decode(Key{sealID}, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// A ring's Codec opens what a Cache with the ring stored, and follows the ring.
func TestKeyRingCodec(t *testing.T) {
	one, two := bytes.Repeat([]byte{1}, KeySize), bytes.Repeat([]byte{2}, KeySize)
	ring, err := NewKeyRing(one)
	if err != nil {
		t.Fatal(err)
	}
	c := ring.Codec()
	key := Key{ID: []byte("an id")}
	value, err := c.Encode(key, Record{DER: []byte("a session"), Expires: time.Unix(1<<40, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := ring.Rotate(two); err != nil {
		t.Fatal(err)
	}
	r, err := c.Decode(key, bytes.Clone(value))
	if err != nil || string(r.DER) != "a session" {
		t.Errorf("after a rotation: %q, %v", r.DER, err)
	}
	if err := ring.Replace(two); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Decode(key, value); !errors.Is(err, ErrOtherKey) {
		t.Errorf("after the key is gone: %v", err)
	}
}
