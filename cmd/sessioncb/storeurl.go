package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// storeSpec is the value of --store, and the STORE of `sessioncb store`.
type storeSpec struct {
	kind string // "memory", "live", "bolt", "redis", "redis-cluster", "redis-sentinel" or "memcache"
	path string // of the bolt file

	// Of the stores that a fleet shares:
	tls            bool // redis only
	hosts          []string
	master         string // redis-sentinel: the name that the sentinels watch
	user, password string
	db             int    // redis and redis-sentinel
	prefix         string // of the keys; "" is the store's own
	ca, cert, key  string // files for TLS
	waitReplicas   int    // redis: how many must know that a session was taken out
}

// schemes are the URLs that parseStore takes, with the kind they mean.
var schemes = map[string]struct {
	kind string
	tls  bool
}{
	"redis":           {kind: "redis"},
	"rediss":          {kind: "redis", tls: true},
	"redis-cluster":   {kind: "redis-cluster"},
	"rediss-cluster":  {kind: "redis-cluster", tls: true},
	"redis-sentinel":  {kind: "redis-sentinel"},
	"rediss-sentinel": {kind: "redis-sentinel", tls: true},
	"memcache":        {kind: "memcache"},
}

const storeForms = "memory, live, bolt:PATH, redis://, rediss://, redis-cluster://, rediss-cluster://, " +
	"redis-sentinel://, rediss-sentinel://, memcache:// or env:NAME"

// parseStore parses the value of a flag or an argument. Its errors show no
// password. env:NAME stands for what the environment variable holds, so that a
// password need not be an argument, which other users can see.
func parseStore(s string) (storeSpec, error) {
	if name, ok := strings.CutPrefix(s, "env:"); ok {
		value, set := os.LookupEnv(name)
		if !set || strings.HasPrefix(value, "env:") {
			return storeSpec{}, fmt.Errorf("%s: no store in that environment variable", s)
		}
		s = value
	}
	if s == "memory" || s == "live" {
		return storeSpec{kind: s}, nil
	}
	if path, ok := strings.CutPrefix(s, "bolt:"); ok && path != "" {
		return storeSpec{kind: "bolt", path: path}, nil
	}
	scheme, rest, ok := strings.Cut(s, "://")
	form, known := schemes[scheme]
	switch {
	case !ok:
		return storeSpec{}, fmt.Errorf("%q is none of %s", s, storeForms)
	case !known:
		return storeSpec{}, fmt.Errorf("%s:// is none of %s", scheme, storeForms)
	}
	spec := storeSpec{kind: form.kind, tls: form.tls}
	if err := spec.parse(rest); err != nil {
		return storeSpec{}, fmt.Errorf("%s://...: %w", scheme, err)
	}
	return spec, nil
}

// parse takes what stands behind the scheme: [USER:PASSWORD@]HOSTS[/DB][?OPTIONS].
// It is not net/url's, which takes one host, and whose errors quote what they
// are given. Here they quote nothing that may be a misplaced password.
func (s *storeSpec) parse(rest string) (err error) {
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		if err := s.parseUser(rest[:at]); err != nil {
			return err
		}
		rest = rest[at+1:]
	}
	rest, query, _ := strings.Cut(rest, "?")
	rest, db, hasDB := strings.Cut(rest, "/")
	if hasDB && db != "" {
		if s.kind == "redis-cluster" || s.kind == "memcache" {
			return fmt.Errorf("a %s has no numbered databases", s.kind)
		}
		if s.db, err = strconv.Atoi(db); err != nil || s.db < 0 {
			return errors.New("the database is no number")
		}
	}
	for host := range strings.SplitSeq(rest, ",") {
		if host, err = s.hostPort(host); err != nil {
			return err
		}
		if slices.Contains(s.hosts, host) {
			return errors.New("a host is there twice")
		}
		s.hosts = append(s.hosts, host)
	}
	if s.kind == "redis" && len(s.hosts) > 1 {
		return errors.New("one host: for several use redis-cluster:// or redis-sentinel://")
	}
	return s.parseOptions(query)
}

// parseUser takes USER:PASSWORD, :PASSWORD, and of a sentinel
// MASTER, or USER:PASSWORD@MASTER.
func (s *storeSpec) parseUser(text string) (err error) {
	if s.kind == "memcache" {
		return errors.New("a memcached has no users: it is guarded by its network")
	}
	if s.kind == "redis-sentinel" {
		at := strings.LastIndex(text, "@")
		if s.master, err = unescape(text[at+1:]); err != nil || strings.Contains(s.master, ":") {
			return errors.New("what stands before the @ must be the master's name, and USER:PASSWORD@ before that")
		}
		if at < 0 {
			return nil
		}
		text = text[:at]
	}
	user, password, ok := strings.Cut(text, ":")
	if !ok || password == "" {
		return errors.New("a user without a password")
	}
	if s.user, err = unescape(user); err != nil {
		return err
	}
	s.password, err = unescape(password)
	return err
}

func unescape(s string) (string, error) {
	text, err := url.PathUnescape(s)
	if err != nil {
		return "", errors.New("before the @ a % is not followed by two hexadecimal digits") // err quotes it
	}
	return text, nil
}

var defaultPorts = map[string]string{
	"redis": "6379", "redis-cluster": "6379", "redis-sentinel": "26379", "memcache": "11211",
}

func (s *storeSpec) hostPort(text string) (string, error) {
	if text == "" {
		return "", errors.New("a host is missing")
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = text, defaultPorts[s.kind]
		if inner, ok := strings.CutPrefix(host, "["); ok && strings.HasSuffix(inner, "]") {
			host = strings.TrimSuffix(inner, "]")
		} else if strings.ContainsAny(host, ":[]") {
			return "", errors.New("a host is not HOST, HOST:PORT or [ADDRESS]:PORT")
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || host == "" {
		return "", errors.New("a host has no name, or a port that is not 1 to 65535")
	}
	return net.JoinHostPort(host, port), nil
}

// parseOptions takes what stands behind the question mark.
func (s *storeSpec) parseOptions(query string) error {
	options, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the options behind the ? are not NAME=VALUE&NAME=VALUE")
	}
	for name, values := range options {
		value, redis := values[0], s.kind != "memcache"
		switch {
		case len(values) > 1:
			return fmt.Errorf("option %s is there twice", name)
		case value == "":
			return fmt.Errorf("option %s has no value", name)
		case name == "prefix":
			s.prefix = value
		case name == "ca" && s.tls:
			s.ca = value
		case name == "cert" && s.tls:
			s.cert = value
		case name == "key" && s.tls:
			s.key = value
		case name == "ca" || name == "cert" || name == "key":
			return fmt.Errorf("option %s is for TLS: rediss://, rediss-cluster:// or rediss-sentinel://", name)
		case name == "wait-replicas" && redis:
			if s.waitReplicas, err = strconv.Atoi(value); err != nil || s.waitReplicas < 0 {
				return fmt.Errorf("option wait-replicas: %q is no number", value)
			}
		default:
			return fmt.Errorf("no such option: %s", name)
		}
	}
	if (s.cert == "") != (s.key == "") {
		return errors.New("options cert and key: one without the other")
	}
	if s.kind == "redis-sentinel" && s.master == "" {
		return errors.New("the master's name is missing: redis-sentinel://MASTER@HOST:PORT")
	}
	return nil
}

// shared says whether other processes can have the store open too.
func (s storeSpec) shared() bool { return !s.inProcess() && s.kind != "bolt" }

// inProcess says whether the store ends with the process.
func (s storeSpec) inProcess() bool { return s.kind == "memory" || s.kind == "live" }

// String is for logs and errors: it has no password.
func (s storeSpec) String() string {
	switch s.kind {
	case "memory", "live":
		return s.kind
	case "bolt":
		return "bolt:" + s.path
	}
	text := s.kind
	if s.tls {
		text = strings.Replace(text, "redis", "rediss", 1)
	}
	text += "://"
	if s.password != "" {
		text += url.PathEscape(s.user) + ":xxxxx@"
	}
	if s.master != "" {
		text += url.PathEscape(s.master) + "@"
	}
	text += strings.Join(s.hosts, ",")
	if s.db != 0 {
		text += "/" + strconv.Itoa(s.db)
	}
	return text
}

// GoString is String, so that no verb of fmt prints a password.
func (s storeSpec) GoString() string { return s.String() }
