package sessioncb

import (
	"strings"
	"testing"
	"time"
)

type ptrStore struct{ Store }

type ptrCodec struct{ Codec }

func TestNewCacheRefuses(t *testing.T) {
	ring := mustRing(t, testKey(1))
	store := newFakeStore()
	for _, test := range []struct {
		name  string
		store Store
		o     CacheOptions
		want  string
	}{
		{"nil store", nil, CacheOptions{Keys: ring}, "store is nil"},
		{"typed nil store", (*ptrStore)(nil), CacheOptions{Keys: ring}, "store is nil"},
		{"no keys", store, CacheOptions{}, "no Keys"},
		{"zero ring", store, CacheOptions{Keys: new(KeyRing)}, "key ring is empty"},
		{"keys and codec", store, CacheOptions{Keys: ring, Codec: InsecurePlaintext()}, "both"},
		{"typed nil codec", store, CacheOptions{Codec: (*ptrCodec)(nil)}, "Codec is a nil"},
		{"lookup timeout", store, CacheOptions{Keys: ring, LookupTimeout: -1}, "LookupTimeout is negative"},
		{"put timeout", store, CacheOptions{Keys: ring, PutTimeout: -1}, "PutTimeout is negative"},
		{"max value small", store, CacheOptions{Keys: ring, MaxValue: 100}, "MaxValue is 100"},
		{"max value large", store, CacheOptions{Keys: ring, MaxValue: 1 << 30}, "MaxValue is"},
		{"max value negative", store, CacheOptions{Keys: ring, MaxValue: -1}, "MaxValue is -1"},
		{"max calls", store, CacheOptions{Keys: ring, MaxCalls: -1}, "MaxCalls is negative"},
		{"near bytes negative", store, CacheOptions{Keys: ring, NearBytes: -1}, "NearBytes is -1"},
		{"near bytes few", store, CacheOptions{Keys: ring, NearBytes: 4095}, "no session fits"},
		{"near ttl", store, CacheOptions{Keys: ring, NearTTL: -1}, "NearTTL is negative"},
		{"breaker pause", store, CacheOptions{Keys: ring, BreakerPause: -1}, "BreakerPause is negative"},
		{"write behind", store, CacheOptions{Keys: ring, WriteBehind: -1}, "WriteBehind is negative"},
		{"tags without keys", store, CacheOptions{Codec: InsecurePlaintext(), TagIDs: true}, "TagIDs needs Keys"},
		{"a store that cannot claim", store, CacheOptions{Keys: ring, SingleUse: true}, "*sessioncb.fakeStore is no Claimer"},
	} {
		c, err := NewCache(test.store, test.o)
		if c != nil || err == nil || !strings.HasPrefix(err.Error(), "sessioncb: new cache: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, %v; want an error with %q", test.name, c, err, test.want)
		}
	}
}

func TestNewCacheDefaults(t *testing.T) {
	c, err := NewCache(newFakeStore(), CacheOptions{Keys: ProcessKey()})
	if err != nil {
		t.Fatal(err)
	}
	if c.get.timeout != 50*time.Millisecond || c.claim.timeout != 50*time.Millisecond ||
		c.put.timeout != time.Second || c.delete.timeout != time.Second || c.maxValue != 16<<10 ||
		c.lookups.limit != 1024 || c.writes.limit != 1024 || c.removeOn != DefaultRemovals() {
		t.Errorf("defaults: %+v", c)
	}
	if c.near != nil || c.behind != nil || c.tags != nil || c.SingleUse() || c.misses.ttl != time.Second || c.get.breaker == nil {
		t.Errorf("what is on by default: %+v", c)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error("Close:", err)
	}
	if cb := c.Callbacks(); cb.New != c || cb.Get != c || cb.Remove != c {
		t.Error("Callbacks is not the cache three times")
	}
}
