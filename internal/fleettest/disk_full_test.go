package fleettest

import (
	"errors"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDiskFull: boltstore's file cannot grow. New sessions are not stored,
// those that are there are resumed, and once there is room again all is as
// before.
func TestDiskFull(t *testing.T) {
	for _, x := range []struct {
		name  string
		tmpfs bool
		seen  error
	}{
		{"a tmpfs without room", true, syscall.ENOSPC},
		{"a limit on the file", false, syscall.EFBIG},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir := t.TempDir()
			o := setup{Bolt: filepath.Join(dir, "sessions.bolt")}
			change := func(*exec.Cmd) {}
			if x.tmpfs {
				o.Mount = dir
				change = func(cmd *exec.Cmd) { cmd.SysProcAttr = ownMounts() }
			}
			r, err := newRigWith(t, o, change)
			if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) {
				// The limit below fills the same file in another way.
				t.Skipf("this system gives no namespace to mount a tmpfs in: %v", err)
			} else if err != nil {
				t.Fatal(err)
			}
			r.primeAll()
			for _, v := range versions {
				r.healthyWave(v)
			}
			r.ask("fill", nil)
			eachVersion(t, func(t *testing.T, version uint16) {
				r := r.at(t)
				begun := r.state()
				// The file has pages that are free, and small commits find room
				// in them when larger ones do not.
				stored, refused := 0, 0
				until(t, "puts fail", func() bool {
					before := r.state()
					resumed, took := r.wave(version)
					n := r.state().since(before)
					if resumed != offering || n["Puts.Stored"]+n["Puts.Error"] != newPuts(version, offering) {
						t.Errorf("%d resumed, counted are %v", resumed, n)
					}
					stored, refused = stored+n["Puts.Stored"], refused+n["Puts.Error"]
					delete(n, "Puts.Stored")
					delete(n, "Puts.Error")
					if diff := cmp.Diff(moves{"Lookups.Hit": offering, "Hits.Store": offering,
						"Served.Resumed": offering, "Served.Full": handshakes - offering}, n); diff != "" {
						t.Errorf("beside the puts (-want +got):\n%s", diff)
					}
					if refused >= handshakes {
						r.compare(version, took)
					}
					return refused >= handshakes
				})
				end := r.state()
				if n := end.errorsWith(x.seen.Error()) - begun.errorsWith(x.seen.Error()); n != refused {
					t.Errorf("%d of %d errors are %q\n%s", n, refused, x.seen, r.why(end))
				}
				t.Logf("%d were stored, %d were not", stored, refused)
			})
			r.ask("free", nil)
			for _, v := range versions {
				r.recovered(v)
				r.prime(v)
				r.healthyWave(v)
			}
			r.bounded()
		})
	}
}
