package ssl

import "github.com/sessioncb/openssl/cshim"

// remains are what a Conn has that is not for Go's collector: they are freed when the
// program forgets the Conn. All but loose is set before.
type remains struct {
	side   *side
	ssl    *cshim.Conn
	socket *readiness // of fd, which is ours; or nil
	fd     int
	loose  *looseSessions // under Conn.mu; nil: none
}

func (r *remains) free() {
	forgotten.Add(1)
	cshim.FreeSessions(r.loose.take())
	r.side.after(r.ssl.Free(true))
	if r.socket != nil {
		r.socket.close(r.fd)
	}
}

// sessions are for who adds some.
func (r *remains) sessions() *looseSessions {
	if r.loose == nil {
		r.loose = &looseSessions{}
		r.loose.announced, r.loose.lives = r.loose.one[:0], r.loose.other[:0]
	}
	return r.loose
}

// settle makes an idle Conn small.
func (r *remains) settle() {
	if l := r.loose; l != nil && len(l.announced)+len(l.lives) == 0 {
		r.loose = nil
	}
}

// looseSessions are those that a Conn owns outside its SSL.
type looseSessions struct {
	announced []cshim.Session // by libssl, until a handler is told
	lives     []cshim.Session // in the answers to lookups, until a step takes them
	// What most handshakes need of both.
	one, other [1]cshim.Session
}

// take returns all of them; nil has none.
func (l *looseSessions) take() []cshim.Session {
	if l == nil {
		return nil
	}
	list := append(l.announced, l.lives...)
	l.announced, l.lives = nil, nil
	return list
}
