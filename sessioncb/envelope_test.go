package sessioncb

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// ParseEnvelope says what was sealed, without a key, and takes no other value.
func TestParseEnvelope(t *testing.T) {
	ring := mustRing(t, testKey(1), testKey(2))
	key := Key{ID: []byte("id")}
	for _, idContext := range [][]byte{nil, []byte("host A"), make([]byte, maxIDContext)} {
		record := Record{DER: []byte("0\x01x"), IDContext: idContext, Expires: time.Unix(1_750_000_000, 0)}
		value, err := ring.Codec().Encode(key, record)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseEnvelope(value)
		want := Envelope{KeyID: ring.IDs()[0], Expires: record.Expires, IDContext: append([]byte{}, idContext...)}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		// A copy: what is done to the value later does not show.
		clear(value)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("it shares memory with the value (-want +got):\n%s", diff)
		}
	}
	value, err := ring.Codec().Encode(key, Record{DER: []byte("0\x01x"), IDContext: []byte("host A")})
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"nothing":           nil,
		"plain DER":         []byte("0\x20 a session with its secrets that is longer than a header of seventy bytes"),
		"header only":       value[:offCtx+6],
		"no session in it":  value[:offCtx+6+tagSize],
		"id context beyond": append(append(append([]byte{}, value[:offCtxLen]...), 33), make([]byte, 200)...),
	} {
		if got, err := ParseEnvelope(damaged); !errors.Is(err, ErrDamaged) || got.KeyID != "" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
