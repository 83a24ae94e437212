package ssl

import "github.com/sessioncb/openssl/sessioncb"

// newIDs asks the GetHandler, if it is one that chooses ids, for those of the
// next n sessions. They are handed to C before the step that may need them, so
// that nothing inside OpenSSL asks anybody; no lock is held.
func (s *side) newIDs(n int) [][32]byte {
	m, ok := s.handlers.Load().Get.(sessioncb.IDMaker)
	if !ok {
		return nil
	}
	var ids [][32]byte
	for range n {
		id, ok := s.newID(m)
		if !ok {
			break // OpenSSL makes the others
		}
		ids = append(ids, id)
	}
	return ids
}

// newID contains what the handler does; a Cache does nothing that must be.
func (s *side) newID(m sessioncb.IDMaker) ([32]byte, bool) {
	if c, ok := m.(*sessioncb.Cache); ok {
		return c.NewSessionID()
	}
	type made struct {
		id [32]byte
		ok bool
	}
	r := <-contained(func() made {
		id, ok := m.NewSessionID()
		return made{id, ok}
	}, func(e *HandlerPanicError) made {
		s.panicked(e)
		return made{}
	}, "NewSessionID")
	return r.id, r.ok
}
