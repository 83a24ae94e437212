package ssl

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// Those that end in time leave the list, wherever they are in it, and the others are
// closed when theirs is over, one after the other.
func TestTimeouts(t *testing.T) {
	const each = 200 * time.Millisecond
	l := &timeouts{each: each}
	var all [5]timeout
	var peers [5]net.Conn
	var began [5]time.Time
	for i := range all {
		var nc net.Conn
		nc, peers[i] = net.Pipe()
		defer nc.Close()
		began[i] = time.Now()
		l.start(&all[i], nc)
		time.Sleep(each / 20)
	}
	for _, i := range []int{0, 2, 4} {
		if !l.stop(&all[i]) {
			t.Errorf("%d was over before its time", i)
		}
	}
	for _, i := range []int{1, 3} {
		peers[i].SetReadDeadline(time.Now().Add(patience))
		if _, err := peers[i].Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%d was not closed: %v", i, err)
		}
		if d := time.Since(began[i]); d < each {
			t.Errorf("%d was closed after %v", i, d)
		}
		if l.stop(&all[i]) {
			t.Errorf("%d was not over", i)
		}
	}
	for _, i := range []int{0, 2, 4} {
		peers[i].SetReadDeadline(time.Now())
		if _, err := peers[i].Read(make([]byte, 1)); !isTimeout(err) {
			t.Errorf("%d was closed: %v", i, err)
		}
	}
	if l.first != nil || l.last != nil {
		t.Error("the list is not empty")
	}

	// The timer is set again for the next one.
	nc, peer := net.Pipe()
	l.start(&all[0], nc)
	peer.SetReadDeadline(time.Now().Add(patience))
	if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("one after a pause was not closed: %v", err)
	}
}
