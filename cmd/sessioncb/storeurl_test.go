package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a store URL means, and how it is shown.
func TestParseStore(t *testing.T) {
	t.Setenv("SESSIONCB_TEST_URL", "rediss://u:from-env@h")
	for _, c := range []struct {
		in    string
		want  storeSpec
		shown string
	}{
		{"memory", storeSpec{kind: "memory"}, "memory"},
		{"live", storeSpec{kind: "live"}, "live"},
		{"bolt:a b/s.bolt", storeSpec{kind: "bolt", path: "a b/s.bolt"}, "bolt:a b/s.bolt"},
		{"redis://h", storeSpec{kind: "redis", hosts: []string{"h:6379"}}, "redis://h:6379"},
		{"redis://:pw@[::1]:7/3", storeSpec{kind: "redis", hosts: []string{"[::1]:7"}, password: "pw", db: 3}, "redis://:xxxxx@[::1]:7/3"},
		{"redis://[::1]", storeSpec{kind: "redis", hosts: []string{"[::1]:6379"}}, "redis://[::1]:6379"},
		// A password with all that a URL would stumble over, escaped or not.
		{"redis://u:a%40b%3Ac@h", storeSpec{kind: "redis", hosts: []string{"h:6379"}, user: "u", password: "a@b:c"}, "redis://u:xxxxx@h:6379"},
		{"redis://u:p@/?#:q@h:1", storeSpec{kind: "redis", hosts: []string{"h:1"}, user: "u", password: "p@/?#:q"}, "redis://u:xxxxx@h:1"},
		{"rediss://h?ca=/ca.pem&cert=c.pem&key=k.pem&prefix=a%3A&wait-replicas=2",
			storeSpec{kind: "redis", tls: true, hosts: []string{"h:6379"}, ca: "/ca.pem", cert: "c.pem", key: "k.pem", prefix: "a:", waitReplicas: 2}, "rediss://h:6379"},
		{"redis-cluster://u:pw@a:1,b", storeSpec{kind: "redis-cluster", hosts: []string{"a:1", "b:6379"}, user: "u", password: "pw"}, "redis-cluster://u:xxxxx@a:1,b:6379"},
		{"rediss-cluster://a:1", storeSpec{kind: "redis-cluster", tls: true, hosts: []string{"a:1"}}, "rediss-cluster://a:1"},
		{"redis-sentinel://main@a:1,b:2/4", storeSpec{kind: "redis-sentinel", hosts: []string{"a:1", "b:2"}, master: "main", db: 4}, "redis-sentinel://main@a:1,b:2/4"},
		{"rediss-sentinel://u:p@w@main@a", storeSpec{kind: "redis-sentinel", tls: true, hosts: []string{"a:26379"}, master: "main", user: "u", password: "p@w"}, "rediss-sentinel://u:xxxxx@main@a:26379"},
		{"memcache://a,b:2?prefix=x", storeSpec{kind: "memcache", hosts: []string{"a:11211", "b:2"}, prefix: "x"}, "memcache://a:11211,b:2"},
		{"env:SESSIONCB_TEST_URL", storeSpec{kind: "redis", tls: true, hosts: []string{"h:6379"}, user: "u", password: "from-env"}, "rediss://u:xxxxx@h:6379"},
	} {
		got, err := parseStore(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(storeSpec{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.in, diff)
		}
		for _, shown := range []string{got.String(), fmt.Sprintf("%v %#v", got, got)} {
			if !strings.Contains(shown, c.shown) || got.password != "" && strings.Contains(shown, got.password) {
				t.Errorf("%s is shown as %s, want %s", c.in, shown, c.shown)
			}
		}
	}
}

// What is no store says why, and shows nothing that may be a password.
func TestParseStoreFails(t *testing.T) {
	t.Setenv("SESSIONCB_TEST_LOOP", "env:SESSIONCB_TEST_LOOP")
	const secret = "s3cret"
	for in, want := range map[string]string{
		"":                                    "is none of memory",
		"Memory":                              "is none of memory",
		"bolt:":                               "is none of memory",
		"redis:x":                             "is none of memory",
		"http://u:s3cret@h":                   "http:// is none of",
		"env:SESSIONCB_TEST_NONE":             "no store in that environment variable",
		"env:SESSIONCB_TEST_LOOP":             "no store in that environment variable",
		"redis://":                            "a host is missing",
		"redis://u:s3cret@":                   "a host is missing",
		"redis://u:s3cret@h:0":                "a port that is not 1 to 65535",
		"redis://u:s3cret@h:port":             "a port that is not 1 to 65535",
		"redis://u:s3cret":                    "a port that is not 1 to 65535", // the host is forgotten
		"redis://u:p:s3cret":                  "a host is not HOST",
		"redis://s3cret@h":                    "a user without a password",
		"redis://u:@h":                        "a user without a password",
		"redis://u:s3cret%zz@h":               "two hexadecimal digits",
		"redis://u:s3cret@a,b":                "one host",
		"redis://u:s3cret@h/db":               "the database is no number",
		"redis://u:s3cret@h/-1":               "the database is no number",
		"redis://u:s3cret@h?ca=x":             "option ca is for TLS",
		"rediss://h?cert=x":                   "one without the other",
		"redis://h?prefix=":                   "option prefix has no value",
		"redis://h?prefix=a&prefix=b":         "option prefix is there twice",
		"redis://h?nothing=1":                 "no such option: nothing",
		"redis://h?%zz":                       "not NAME=VALUE",
		"redis://h?wait-replicas=few":         "is no number",
		"redis-cluster://a:1,a:1":             "a host is there twice",
		"redis-cluster://a/1":                 "no numbered databases",
		"redis-cluster://a,,b":                "a host is missing",
		"redis-sentinel://h:1":                "the master's name is missing",
		"redis-sentinel://u:s3cret@h":         "must be the master's name",
		"memcache://u:s3cret@h":               "a memcached has no users",
		"memcache://h/1":                      "no numbered databases",
		"memcache://h?wait-replicas=1":        "no such option",
		"redis://h]:1":                        "a host is not HOST",
		"redis-sentinel://u:s3cret%2@m@h:1":   "two hexadecimal digits",
		"rediss-cluster://u:s3cret@h:1,h:one": "a port that is not 1 to 65535",
	} {
		spec, err := parseStore(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %q", in, spec, err, want)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the password: %v", in, err)
		}
	}
}
