package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

const root = "../.."

// TestTree: this tree keeps to the fence.
func TestTree(t *testing.T) {
	found, files, err := check(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
	if files < 5 {
		t.Errorf("read %d files only", files)
	}
}

// TestViolations puts one file of each kind into the module and wants exactly
// the one line that names it, or none.
func TestViolations(t *testing.T) {
	const ours = `"` + module
	tests := []struct {
		why    string
		file   string
		source string
		want   string // in the line; empty: allowed
	}{
		{"cgo in the store contract", "sessioncb/x.go", `import "C"`, `import "C" outside`},
		{"cgo in a group", "ssl/x.go", "import (\n\"fmt\"\n\"C\"\n)\nvar _ = fmt.Sprint", `ssl/x.go:4: import "C" outside`},
		{"cgo in a raw string path", "ssl/x.go", "import `C`", `import "C" outside`},
		{"cgo for another system", "ssl/x_plan9.go", `import "C"`, `import "C" outside`},
		{"cgo behind a build tag", "cmd/sessioncb/x.go", "//go:build never\n\npackage x\nimport \"C\"", `import "C" outside`},
		{"cgo in a directory that begins alike", "cshimmer/x.go", `import "C"`, `import "C" outside`},
		{"cgo beside chost", "internal/chosts/x.go", `import "C"`, `import "C" outside`},
		{"cgo in cshim", "cshim/x.go", `import "C"`, ""},
		{"cgo in the prototype", "bench/prototype/x.go", `import "C"`, ""},
		{"cgo in another peer", "bench/ours/x.go", `import "C"`, `import "C" outside`},
		{"cgo below chost", "internal/chost/peer/x.go", `import "C"`, ""},
		{"words in a comment and a string", "ssl/x.go", "// import \"C\" and runtime.SetFinalizer\nconst s = `import \"C\"`", ""},
		{"C source in ssl", "ssl/x.c", "", "C outside"},
		{"C header in sessioncb", "sessioncb/x.h", "", "C outside"},
		{"C source in cshim", "cshim/x.c", "", ""},
		{"C peer in bench", "bench/peer/x.c", "", ""},
		{"C among test data", "ssl/testdata/x.c", "", ""},

		{"unsafe in ssl", "ssl/x.go", `import "unsafe"`, "unsafe outside"},
		{"unsafe in a test", "ssl/attach_test.go", `import "unsafe"`, "unsafe outside"},
		{"unsafe under another name", "sessioncb/memstore/x.go", `import _ "unsafe"`, "unsafe outside"},
		{"unsafe in a deeper attach.go", "ssl/x/attach.go", `import "unsafe"`, "unsafe outside"},
		{"unsafe in attach.go", "ssl/attach.go", `import "unsafe"`, ""},
		{"unsafe in cshim", "cshim/x.go", `import "unsafe"`, ""},

		{"export in another file of cshim", "cshim/x.go", "//export f\nfunc f() {}", "//export outside"},
		{"export in chost", "internal/chost/x.go", "//export f\nfunc f() {}", "//export outside"},
		{"export in export.go", "cshim/export.go", "//export f\nfunc f() {}", ""},
		{"export in the prototype", "bench/prototype/store.go", "//export f\nfunc f() {}", ""},
		{"export in another file of the prototype", "bench/prototype/x.go", "//export f\nfunc f() {}", "//export outside"},
		{"the word export", "cshim/x.go", "// export f is not done here", ""},

		{"finalizer", "ssl/x.go", "import \"runtime\"\nfunc f(p *int) { runtime.SetFinalizer(p, nil) }", "runtime.SetFinalizer"},
		{"finalizer in cshim", "cshim/x.go", "import \"runtime\"\nvar f = runtime.SetFinalizer", "runtime.SetFinalizer"},
		{"finalizer in a test", "cshim/x_test.go", "import \"runtime\"\nvar f = runtime.SetFinalizer", "runtime.SetFinalizer"},
		{"finalizer under another name", "ssl/x.go", "import rt \"runtime\"\nvar f = rt.SetFinalizer", "runtime.SetFinalizer"},
		{"finalizer by a dot import", "ssl/x.go", "import . \"runtime\"\nvar f = SetFinalizer", "runtime.SetFinalizer"},
		{"another package's SetFinalizer", "ssl/x.go", "import \"runtime\"\nvar _ = runtime.GC\nvar r struct{ SetFinalizer int }\nvar f = r.SetFinalizer", ""},

		{"cshim knows no policy", "cshim/x.go", `import _ ` + ours + `/sessioncb"`, "cshim must not import sessioncb"},
		{"cshim knows no ssl", "cshim/x_test.go", `import _ ` + ours + `/ssl"`, "cshim must not import ssl"},
		{"cshim does not lean on its judge", "cshim/x.go", `import _ ` + ours + `/internal/chost"`, "cshim must not import internal/chost"},
		{"cshim's tests use the C server", "cshim/x_test.go", `import _ ` + ours + `/internal/chost"`, ""},
		{"sessioncb knows no C", "sessioncb/x.go", `import _ ` + ours + `/cshim"`, "sessioncb must not import cshim"},
		{"a store knows no ssl", "sessioncb/boltstore/x.go", `import _ ` + ours + `/ssl"`, "sessioncb/boltstore must not import ssl"},
		{"a store's test knows no ssl", "sessioncb/boltstore/x_test.go", `import _ ` + ours + `/ssl"`, "sessioncb/boltstore must not import ssl"},
		{"a store starts no servers", "sessioncb/redisstore/x.go", `import _ ` + ours + `/internal/testserver"`, "sessioncb/redisstore must not import internal/testserver"},
		{"a store's test starts servers", "sessioncb/redisstore/x_test.go", `import _ ` + ours + `/internal/testserver"`, ""},
		{"the command starts servers", "cmd/sessioncb/x.go", `import _ ` + ours + `/internal/testserver"`, ""},
		{"servers for tests know no store", "internal/testserver/x.go", `import _ ` + ours + `/sessioncb"`, "internal/testserver must not import sessioncb"},
		{"the fleet's tests join all", "internal/fleettest/x_test.go", "import _ " + ours + "/ssl\"\nimport _ " + ours + "/sessioncb/redisstore\"\nimport _ " + ours + "/internal/testserver\"\nimport _ " + ours + `/cshim"`, ""},
		{"and are no package to build on", "internal/fleettest/x.go", `import _ ` + ours + `/ssl"`, "internal/fleettest must not import ssl"},
		{"the fleet's tests know no command", "internal/fleettest/x_test.go", `import _ ` + ours + `/cmd/sessioncb"`, "internal/fleettest must not import cmd/sessioncb"},
		{"a store knows sessioncb", "sessioncb/boltstore/x.go", `import _ ` + ours + `/sessioncb"`, ""},
		{"ssl joins the two", "ssl/x.go", "import _ " + ours + "/sessioncb\"\nimport _ " + ours + `/cshim"`, ""},
		{"ssl knows no store", "ssl/x.go", `import _ ` + ours + `/sessioncb/memstore"`, "ssl must not import sessioncb/memstore"},
		{"ssl's tests use a store", "ssl/x_test.go", `import _ ` + ours + `/sessioncb/memstore"`, ""},
		{"ssl does not lean on the C server", "ssl/x.go", `import _ ` + ours + `/internal/chost"`, "ssl must not import internal/chost"},
		{"ssl knows no command", "ssl/x.go", `import _ ` + ours + `/cmd/sessioncb"`, "ssl must not import cmd/sessioncb"},
		{"the command uses what a user can", "cmd/sessioncb/x.go", "import _ " + ours + "/ssl\"\nimport _ " + ours + `/sessioncb/boltstore"`, ""},
		{"the command goes not round ssl", "cmd/sessioncb/x.go", `import _ ` + ours + `/cshim"`, "cmd/sessioncb must not import cshim"},
		{"the driver goes not round ssl", "bench/x.go", `import _ ` + ours + `/cshim"`, "bench must not import cshim"},
		{"the prototype is not built on the binding", "bench/prototype/x.go", `import _ ` + ours + `/ssl"`, "bench/prototype must not import ssl"},
		{"the prototype's tests have its client", "bench/prototype/x_test.go", "import _ " + ours + "/ssl\"\nimport _ " + ours + `/cshim"`, ""},
		{"the C server judges, alone", "internal/chost/x.go", `import _ ` + ours + `/cshim"`, "internal/chost must not import cshim"},
		{"sealed is for all", "cmd/sessioncb/x.go", `import _ ` + ours + `/internal/sealed"`, ""},
		{"sealed imports nothing", "internal/sealed/x.go", `import _ ` + ours + `/sessioncb"`, "internal/sealed must not import sessioncb"},

		{"broken Go", "ssl/x.go", "func {", "does not parse"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			source := tt.source
			if !strings.Contains(source, "package ") {
				source = "package x\n" + source
			}
			found, _, err := check(fstest.MapFS{
				"go.mod":              {Data: []byte("module " + module + "\n")},
				"sessioncb/stores.go": {Data: []byte("package sessioncb\n")},
				tt.file:               {Data: []byte(source)},
			})
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if len(found) > 0 {
					t.Fatalf("%s is allowed, got %v", tt.file, found)
				}
				return
			}
			if len(found) != 1 {
				t.Fatalf("got %d violations, want 1: %v", len(found), found)
			}
			line := found[0].String()
			if !strings.Contains(line, tt.want) || !strings.HasPrefix(line, tt.file+":") {
				t.Errorf("got %q, want %q in %s", line, tt.want, tt.file)
			}
		})
	}
}

func TestNotATree(t *testing.T) {
	if _, _, err := check(fstest.MapFS{"x.go": {Data: []byte("package x")}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory without go.mod: %v", err)
	}
	if _, _, err := check(fstest.MapFS{"go.mod": {}}); err == nil {
		t.Error("a module without Go files is taken for one that keeps to the fence")
	}
}

// TestScript runs scripts/checkcgo itself over a copy of the tree: it passes,
// then a violation is put in and it fails and names the file.
func TestScript(t *testing.T) {
	copied := t.TempDir()
	if err := copyTree(copied, root); err != nil {
		t.Fatal(err)
	}
	script := func() (string, error) {
		out, err := exec.Command("bash", filepath.Join(copied, "scripts", "checkcgo")).CombinedOutput()
		return string(out), err
	}
	if out, err := script(); err != nil {
		t.Fatalf("fails without a violation: %v\n%s", err, out)
	}
	bad := filepath.Join(copied, "sessioncb", "put_in.go")
	if err := os.WriteFile(bad, []byte("package sessioncb\n\nimport \"C\"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	out, err := script()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("with a violation: %v, want exit code 1", err)
	}
	if !strings.Contains(out, "sessioncb/put_in.go:3:") {
		t.Errorf("does not name the file:\n%s", out)
	}
}

// copyTree copies what the fence and its script read.
func copyTree(to, from string) error {
	tree := os.DirFS(from)
	return fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && notSource(d.Name()) {
				return fs.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, name), 0o777)
		}
		switch filepath.Ext(name) {
		case ".go", ".mod", ".sum", ".c", ".h", "":
		default:
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o666)
	})
}
