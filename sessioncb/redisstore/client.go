package redisstore

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// checkClient looks for what cannot work well. Each message begins with the
// name of the option.
func checkClient(client redis.UniversalClient, o Options) error {
	switch {
	case o.WaitReplicas < 0:
		return fmt.Errorf("WaitReplicas is negative: %d", o.WaitReplicas)
	case o.WaitTimeout < 0:
		return fmt.Errorf("WaitTimeout is negative: %v", o.WaitTimeout)
	case o.WaitTimeout > 0 && o.WaitReplicas == 0:
		return errors.New("WaitTimeout without WaitReplicas: there is nothing to wait for")
	}
	switch c := client.(type) {
	case nil:
		return errors.New("the client is nil")
	case *redis.Client:
		if c == nil {
			return errors.New("the client is nil")
		}
		opt := c.Options()
		caches := opt.ClientSideCache != nil || opt.ClientSideCacheConfig != nil
		return checkOptions(o, opt.ContextTimeoutEnabled, opt.ReadTimeout, caches)
	case *redis.ClusterClient:
		if c == nil {
			return errors.New("the client is nil")
		}
		if hasHashTag(o.Prefix) {
			return fmt.Errorf("Prefix %q has a hash tag: all sessions would be on one server of the cluster", o.Prefix)
		}
		opt := c.Options()
		return checkOptions(o, opt.ContextTimeoutEnabled, opt.ReadTimeout, false)
	case *redis.Ring:
		if c == nil {
			return errors.New("the client is nil")
		}
		opt := c.Options()
		readTimeout := opt.ReadTimeout
		if readTimeout == 0 { // its servers' clients have the default, and it does not say so
			readTimeout = 5 * time.Second
		}
		return checkOptions(o, opt.ContextTimeoutEnabled, readTimeout, false)
	}
	if o.WaitReplicas > 0 {
		return fmt.Errorf("WaitReplicas with a client of type %T: only go-redis's own tell which connection a claim went over", client)
	}
	return nil
}

func checkOptions(o Options, contextTimeout bool, readTimeout time.Duration, caches bool) error {
	wait := o.WaitTimeout
	if wait == 0 && o.WaitReplicas > 0 {
		wait = DefaultWaitTimeout
	}
	switch {
	case !contextTimeout:
		return errors.New("ContextTimeoutEnabled of the client is false: deadlines would not reach its connections")
	case readTimeout <= 0: // -1 and -2 as go-redis keeps them
		return errors.New("ReadTimeout of the client is off: a call to a server that hangs would not end")
	case caches:
		return errors.New("ClientSideCache of the client is on: a copy in this process outlives a claim by another")
	case wait >= readTimeout:
		return fmt.Errorf("WaitTimeout %v is not shorter than the client's ReadTimeout %v, which would end the wait first", wait, readTimeout)
	}
	return nil
}

// hasHashTag reports whether Redis Cluster would take the slot from a part of
// the prefix.
func hasHashTag(prefix string) bool {
	_, tag, found := strings.Cut(prefix, "{")
	return found && strings.Index(tag, "}") > 0
}
