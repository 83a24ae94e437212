package main

import (
	"crypto/tls"
	"fmt"

	"github.com/sessioncb/openssl/ssl"
)

// hostName is that of the i-th virtual host, which the load asks for.
func hostName(i int) string { return fmt.Sprintf("h%d.test", i) }

// virtual makes n Contexts of cfg, and a GetConfigForClient that chooses among
// them by name, as a server does it. A name that is none of theirs is an error.
func virtual(cfg ssl.Config, n int) (func(*tls.ClientHelloInfo) (*ssl.Context, error), error) {
	byName := make(map[string]*ssl.Context, n)
	for i := range n {
		ctx, err := ssl.NewContext(cfg)
		if err != nil {
			return nil, fmt.Errorf("context %d of %d: %w", i+1, n, err)
		}
		byName[hostName(i)] = ctx
	}
	return func(hello *tls.ClientHelloInfo) (*ssl.Context, error) {
		ctx := byName[hello.ServerName]
		if ctx == nil {
			return nil, fmt.Errorf("no host is called %q", hello.ServerName)
		}
		return ctx, nil
	}, nil
}
