package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// sharedTimeout bounds one exchange with a shared store; the Cache's own
// timeouts bound what a handshake waits for.
const sharedTimeout = time.Second

// redisClient makes a client that fails fast: a handshake waits for it, and a
// full handshake is always the other way.
func (s storeSpec) redisClient() (redis.UniversalClient, error) {
	quietRedis()
	o := &redis.UniversalOptions{
		Addrs:      s.hosts,
		MasterName: s.master,
		DB:         s.db,
		Username:   s.user,
		Password:   s.password,

		ContextTimeoutEnabled: true, // else a command outlives the handshake
		DialTimeout:           sharedTimeout,
		ReadTimeout:           sharedTimeout,
		WriteTimeout:          sharedTimeout,
		DialerRetries:         1,
		MaxRetries:            1, // a connection that the server had closed meanwhile
		PoolSize:              32,

		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if s.tls {
		config, err := s.tlsConfig()
		if err != nil {
			return nil, err
		}
		o.TLSConfig = config
	}
	if s.kind == "redis-cluster" {
		return redis.NewClusterClient(clusterOptions(o)), nil
	}
	return redis.NewUniversalClient(o), nil
}

// clusterOptions are what UniversalOptions cannot say.
func clusterOptions(o *redis.UniversalOptions) *redis.ClusterOptions {
	c := o.Cluster()
	c.MaxRetries = -1 // it retries by itself, and on the other servers too
	c.MaxRetryBackoff = 50 * time.Millisecond
	return c
}

// tlsConfig verifies the servers by their host names.
func (s storeSpec) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.ca != "" {
		text, err := os.ReadFile(s.ca)
		if err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("redis: %s: no CA certificate in PEM", s.ca)
		}
	}
	if s.cert != "" {
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return nil, fmt.Errorf("redis: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// quietRedis keeps go-redis from writing on stderr by itself: what it would
// say of single connections the Cache says once of the store.
var quietRedis = sync.OnceFunc(func() { redis.SetLogger(silence{}) })

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
