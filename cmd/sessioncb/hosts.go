package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/sessioncb/openssl/ssl"
)

// virtualHost is the value of one --host.
type virtualHost struct{ name, cert, key string }

func parseHosts(flags []string) (hosts []virtualHost, err error) {
	seen := make(map[string]bool)
	for _, flag := range flags {
		name, files, hasFiles := strings.Cut(flag, "=")
		h := virtualHost{name: hostName(name)}
		h.cert, h.key, _ = strings.Cut(files, ",")
		switch {
		case !isHostName(h.name):
			return nil, fmt.Errorf("--host %q: NAME is no host name", flag)
		case seen[h.name]:
			return nil, fmt.Errorf("--host %s is there twice", h.name)
		case hasFiles && h.cert == "", strings.HasSuffix(files, ","):
			return nil, fmt.Errorf("--host %q: not NAME=CERT or NAME=CERT,KEY", flag)
		}
		seen[h.name] = true
		hosts = append(hosts, h)
	}
	return hosts, nil
}

// hostName is the form in which names are compared (RFC 6066, section 3).
func hostName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// isHostName says whether a client can ask for the name: an address is never sent.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 || net.ParseIP(s) != nil {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == "" && !strings.Contains("."+s+".", "..")
}

// contexts are those of one server: the default, and one for each virtual host.
type contexts struct {
	standard *ssl.Context
	hosts    map[string]*ssl.Context
	all      []*ssl.Context // in the order of the flags, the default last
}

// newContexts makes them. Their Names keep their sessions apart in the store.
func (o *serveOptions) newContexts(conns *conns) (cs *contexts, err error) {
	cs = &contexts{hosts: make(map[string]*ssl.Context)}
	defer func() {
		if err != nil {
			err = errors.Join(err, cs.release())
		}
	}()
	for _, h := range o.virtualHosts {
		cert, err := certificateOf(h.cert, h.key, h.name)
		if err != nil {
			return cs, err
		}
		c, err := ssl.NewContext(o.config(conns.cache, h.name, cert))
		if err != nil {
			return cs, fmt.Errorf("host %s: %w", h.name, err)
		}
		cs.hosts[h.name] = c
		cs.all = append(cs.all, c)
	}
	choose := cs.choose
	if len(cs.hosts) == 0 {
		choose = nil
	}
	host, _, _ := net.SplitHostPort(o.addr)
	cert, err := certificateOf(o.cert, o.key, host)
	if err != nil {
		return cs, err
	}
	if cs.standard, err = o.newContext(conns, cert, choose); err != nil {
		return cs, err
	}
	cs.all = append(cs.all, cs.standard)
	return cs, nil
}

// choose is Config.GetConfigForClient: a name that is not listed gets the default.
func (cs *contexts) choose(hello *tls.ClientHelloInfo) (*ssl.Context, error) {
	return cs.hosts[hostName(hello.ServerName)], nil
}

// certificateOf names the files, or makes a self-signed certificate for host.
func certificateOf(cert, key, host string) (ssl.Certificate, error) {
	if cert == "" {
		return selfSigned(host)
	}
	return ssl.Certificate{ChainFile: cert, KeyFile: key}, nil
}
