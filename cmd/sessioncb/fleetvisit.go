package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sessioncb/openssl/sessioncb"
	"github.com/sessioncb/openssl/ssl"
)

// visitTimeout bounds one visit. It is for what hangs: a visit takes some
// milliseconds, and on a machine with other work some more.
const visitTimeout = 20 * time.Second

var fleetVersions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// visitor is a client of one version, with the last session it was given.
type visitor struct {
	version uint16
	context *ssl.Context
	newest  newestSession
	visited bool // it was somewhere before
}

// newVisitors makes the clients, of each version as many as --clients says.
func (f *fleet) newVisitors() (list []*visitor, err error) {
	for _, version := range fleetVersions {
		for range f.clients {
			v := &visitor{version: version}
			v.context, err = ssl.NewContext(ssl.Config{
				CAPEM:      f.cert.ChainPEM,
				MinVersion: version, MaxVersion: version,
				SessionCallbacks: sessioncb.Callbacks{New: &v.newest},
				SessionCacheMode: ssl.CacheExternal,
			})
			if err != nil {
				closeVisitors(list)
				return nil, err
			}
			list = append(list, v)
		}
	}
	return list, nil
}

func closeVisitors(list []*visitor) {
	for _, v := range list {
		v.newest.close()
		v.context.Close()
	}
}

// visit is what one came to.
type visit struct {
	version  uint16
	began    time.Time
	followed bool   // the client had been somewhere before
	resumed  bool   // as the client has it
	err      error  // the visit failed
	odd      string // what client and server do not agree about
}

// visit makes a connection and a request, and keeps the session.
func (v *visitor) visit(ctx context.Context, n *node) visit {
	ctx, cancel := context.WithTimeout(ctx, visitTimeout)
	defer cancel()
	r := visit{version: v.version, began: time.Now(), followed: v.visited}
	offer := v.newest.take()
	if offer != nil {
		defer offer.Close()
	}
	r.err = v.exchange(ctx, n, offer, &r)
	// A session stays good if nothing newer came: TLS 1.2 gives one only with
	// a full handshake, and a visit that failed gave none.
	if offer != nil && (r.resumed || r.err != nil) {
		v.newest.putBack(offer)
	}
	if r.err == nil {
		v.visited = true
	} else {
		r.err = fmt.Errorf("%s, %s: %w", n, tls.VersionName(v.version), r.err)
	}
	return r
}

func (v *visitor) exchange(ctx context.Context, n *node, offer *ssl.Session, r *visit) error {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", n.addr)
	if err != nil {
		return err
	}
	c, err := ssl.Client(nc, v.context, &ssl.ClientOptions{ServerName: "localhost", Session: offer})
	if err != nil {
		nc.Close()
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		c.SetDeadline(deadline)
	}
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	state := c.ConnectionState()
	// With the answer the tickets are read.
	said, err := ask(c)
	if err != nil {
		return err
	}
	r.resumed = state.DidResume
	r.odd = disagree(state, offer, said)
	return nil
}

// ask makes a request and returns what the server answers.
func ask(c net.Conn) (said map[string]string, err error) {
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", response.Status)
	}
	said = make(map[string]string)
	for line := range strings.Lines(string(body)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			said[name] = value
		}
	}
	return said, nil
}

// disagree says where the server's words differ from what the client saw: the
// version, whether it was a resumption, and its way.
func disagree(state tls.ConnectionState, offer *ssl.Session, said map[string]string) string {
	if v := tls.VersionName(state.Version); said["version"] != v {
		return fmt.Sprintf("client %s, server %s", v, said["version"])
	}
	way := fullHandshake
	switch {
	case !state.DidResume:
	case state.Version == tls.VersionTLS12 && !offer.HasTicket() && len(offer.ID()) > 0:
		way = bySessionID
	case state.Version == tls.VersionTLS13 && len(offer.Ticket()) == statefulTicket:
		way = byStatefulTicket
	default:
		way = fmt.Sprintf("ticket of %d bytes", len(offer.Ticket()))
	}
	if said["resumed"] != way {
		return fmt.Sprintf("resumed: client %s, server %s", way, said["resumed"])
	}
	return ""
}

// statefulTicket is the length of a ticket that is a key of a lookup; one that
// carries the session is longer.
const statefulTicket = 32

// targets are the servers that visitors choose from.
type targets struct {
	mu    sync.Mutex
	nodes []*node
}

// choose returns one at random.
func (t *targets) choose() *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.nodes[rand.IntN(len(t.nodes))]
}

// remove takes one out, before it is killed: it is not among the live from
// then on.
func (t *targets) remove(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var rest []*node
	for _, other := range t.nodes {
		if other != n {
			rest = append(rest, other)
		}
	}
	t.nodes = rest
}

func (t *targets) has(n *node) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, other := range t.nodes {
		if other == n {
			return true
		}
	}
	return false
}

// seen adds up the visits of one version.
type seen struct {
	version           uint16
	visits            int
	followed, resumed int // visits of a client that had been somewhere, and how many of them were resumptions
	failed, odd       int
	first             string // what was wrong first
}

func (s *seen) add(r visit) {
	s.visits++
	wrong := r.odd
	switch {
	case r.err != nil:
		s.failed++
		wrong = r.err.Error()
	case r.odd != "":
		s.odd++
	}
	if s.first == "" {
		s.first = wrong
	}
	if r.followed {
		s.followed++
		if r.resumed {
			s.resumed++
		}
	}
}

func (s *seen) share() float64 {
	if s.followed == 0 {
		return 0
	}
	return float64(s.resumed) / float64(s.followed)
}

// visitAll has each client make its visits, all at once, and adds up by version.
func visitAll(ctx context.Context, clients []*visitor, to *targets, each int) ([]*seen, error) {
	// Generous: it ends what does not come to an end by itself.
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute+time.Duration(len(clients)*each)*50*time.Millisecond)
	defer cancel()
	var mu sync.Mutex
	var all []*seen
	for _, version := range fleetVersions {
		all = append(all, &seen{version: version})
	}
	visitEach(ctx, clients, to, func(made int) bool { return made < each }, func(_ *node, r visit) {
		mu.Lock()
		defer mu.Unlock()
		for _, s := range all {
			if s.version == r.version {
				s.add(r)
			}
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("visits did not end: %w", errors.Join(err, context.Cause(ctx)))
	}
	return all, nil
}

// visitEach runs the clients until more says that they have made enough, and
// tells of each visit. tell is called concurrently.
func visitEach(ctx context.Context, clients []*visitor, to *targets, more func(made int) bool, tell func(*node, visit)) {
	var wg sync.WaitGroup
	for _, v := range clients {
		wg.Go(func() {
			for made := 0; more(made) && ctx.Err() == nil; made++ {
				n := to.choose()
				r := v.visit(ctx, n)
				if ctx.Err() == nil { // a visit that was cut short says nothing
					tell(n, r)
				}
			}
		})
	}
	wg.Wait()
}
