package sessioncb

import "sync"

// puts knows the sessions of this process that are on their way into the
// store, so that one that is removed meanwhile does not arrive there after its
// removal: a Put may be queued, or be inside the store long after anybody
// waited for it.
type puts struct {
	mu  sync.Mutex
	ids map[string][]*putting
}

// A putting is one such session.
type putting struct {
	removed bool // under the lock of puts
}

// begin is called before the session is encoded: a session that was removed
// before that cannot be.
func (p *puts) begin(key Key) *putting {
	one := new(putting)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ids == nil {
		p.ids = map[string][]*putting{}
	}
	p.ids[string(key.ID)] = append(p.ids[string(key.ID)], one)
	return one
}

// remove marks all that are on their way.
func (p *puts) remove(key Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.ids[string(key.ID)] {
		one.removed = true
	}
}

// removed says whether one was marked.
func (p *puts) removed(one *putting) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return one.removed
}

// end is called when the store has the session, or will never have it, and
// says whether it was marked. A second end does nothing.
func (p *puts) end(key Key, one *putting) (removed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := string(key.ID)
	list := p.ids[id]
	for i := range list {
		if list[i] == one {
			if list[i] = list[len(list)-1]; len(list) == 1 {
				delete(p.ids, id)
			} else {
				p.ids[id] = list[:len(list)-1]
			}
			break
		}
	}
	return one.removed
}
