package ssl

import "github.com/sessioncb/openssl/cshim"

// around lets a test look at the steps of a Conn, and do something before or
// after them.
type around struct {
	transport
	in, out stepAround
}

type stepAround struct {
	of step
	f  func(s step, tr cshim.IO) (wait bool, in, out int)
}

func (a *stepAround) try(tr cshim.IO) (wait bool, in, out int) { return a.f(a.of, tr) }

func (a *around) input(s step) error {
	a.in.of = s
	return a.transport.input(&a.in)
}

func (a *around) output(s step) error {
	a.out.of = s
	return a.transport.output(&a.out)
}

// aroundSteps has f make the steps of c that are of type S.
func aroundSteps[S step](c *Conn, f func(s S, tr cshim.IO) (wait bool, in, out int)) {
	one := stepAround{f: func(s step, tr cshim.IO) (wait bool, in, out int) {
		if s, ok := s.(S); ok {
			return f(s, tr)
		}
		return s.try(tr)
	}}
	c.tr = &around{c.tr, one, one}
}
