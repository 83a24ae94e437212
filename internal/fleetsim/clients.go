package main

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// A client visits, with several connections, and comes again after a pause. It
// offers the newest session that it has.
type client struct {
	next    time.Duration // of its next connection, since the start
	left    int           // connections of this visit after the next
	node    int           // with -sticky
	tls13   bool
	ticket  ticket // the newest
	earlier ticket // what it offered in the connection before
	again   bool   // the next connection starts at once with the one before
}

// A ticket is a session as its client holds it: an id of TLS 1.2 or a ticket of
// TLS 1.3. The zero ticket is none.
type ticket struct {
	id       string
	began    time.Duration // its chain, with a full handshake
	made     time.Duration
	lifetime time.Duration
}

// A crowd is all clients, the next to connect first.
type crowd struct {
	o    *options
	rand *rand.Rand
	heap []*client
}

func (c *crowd) Len() int           { return len(c.heap) }
func (c *crowd) Less(i, j int) bool { return c.heap[i].next < c.heap[j].next }
func (c *crowd) Swap(i, j int)      { c.heap[i], c.heap[j] = c.heap[j], c.heap[i] }
func (c *crowd) Push(x any)         { c.heap = append(c.heap, x.(*client)) }
func (c *crowd) Pop() any           { panic("clients do not leave") }

func newCrowd(o *options, r *rand.Rand) *crowd {
	c := &crowd{o: o, rand: r}
	for range o.clients {
		cl := &client{next: c.exponential(o.pause)}
		c.arrive(cl)
		c.heap = append(c.heap, cl)
	}
	heap.Init(c)
	return c
}

func (c *crowd) exponential(mean time.Duration) time.Duration {
	return time.Duration(c.rand.ExpFloat64() * float64(mean))
}

func (c *crowd) happens(share float64) bool { return share > 0 && c.rand.Float64() < share }

// renew makes cl another client, that nobody has seen.
func (c *crowd) renew(cl *client) {
	cl.tls13 = !c.happens(c.o.tls12)
	cl.ticket, cl.earlier = ticket{}, ticket{}
	cl.node = c.rand.IntN(c.o.nodes)
}

// arrive begins a visit.
func (c *crowd) arrive(cl *client) {
	// A pause is of the client's place; somebody new may sit there.
	if cl.ticket == (ticket{}) || c.happens(c.o.fresh) {
		c.renew(cl)
	} else if c.happens(c.o.moved) {
		cl.node = c.rand.IntN(c.o.nodes)
	}
	cl.left = 0
	for c.rand.Float64() < 1-1/c.o.burst {
		cl.left++
	}
	cl.again = false
}

// advance moves the first client to its next connection.
func (c *crowd) advance() {
	cl := c.heap[0]
	switch {
	case cl.left == 0:
		cl.next += c.exponential(c.o.pause)
		c.arrive(cl)
	case c.happens(c.o.parallel):
		cl.left--
		cl.again = true
	default:
		cl.left--
		cl.again = false
		cl.next += c.exponential(c.o.within)
	}
	heap.Fix(c, 0)
}

// offer is what the client shows in its ClientHello now, the zero ticket if it
// has nothing that it holds for good.
func (cl *client) offer(o *options, now time.Duration) ticket {
	t := cl.ticket
	if cl.again {
		t = cl.earlier // the answer to that connection is not here yet
	}
	keep := t.lifetime // the ticket says it, in TLS 1.3
	if !cl.tls13 || o.only12 {
		keep = o.keep // nothing says it, in TLS 1.2
	}
	if t != (ticket{}) && now-t.made >= keep {
		return ticket{}
	}
	return t
}
