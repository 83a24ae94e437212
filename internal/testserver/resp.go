package testserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// ask sends one command to a Redis server and returns the answer: a string,
// an int64, nil, or a []any of these. An error answer is an error. It is all
// of the protocol that setting up a fleet takes.
func (s *Server) ask(args ...string) (any, error) {
	c, err := net.DialTimeout("tcp", s.Addr(), patience)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return nil, err
	}
	answer, err := readAnswer(bufio.NewReader(c))
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", s, strings.Join(args, " "), err)
	}
	return answer, nil
}

// askString is ask for answers that are strings.
func (s *Server) askString(args ...string) (string, error) {
	answer, err := s.ask(args...)
	if err != nil {
		return "", err
	}
	text, ok := answer.(string)
	if !ok {
		return "", fmt.Errorf("%s: %s: the answer is a %T", s, strings.Join(args, " "), answer)
	}
	return text, nil
}

func readAnswer(r *bufio.Reader) (any, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSuffix(line, "\r\n")
	if line == "" {
		return nil, errors.New("an empty line")
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, errors.New(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	switch {
	case err != nil:
		return nil, fmt.Errorf("not an answer: %q", line)
	case kind == ':':
		return n, nil
	case n < 0:
		return nil, nil
	case n > 1<<20:
		return nil, fmt.Errorf("an answer of %d", n)
	case kind == '$':
		b := make([]byte, n+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		return string(b[:n]), nil
	case kind == '*':
		list := make([]any, n)
		for i := range list {
			if list[i], err = readAnswer(r); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("not an answer: %q", line)
}
