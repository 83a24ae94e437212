// Fence reports where the tree breaks its own rules on C, unsafe memory and
// import directions. It reads every Go file, whatever its build constraints,
// tests included, and prints a line per violation. It exits 1 if there is one.
//
//	go run ./scripts/fence [DIRECTORY]
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

const module = "github.com/sessioncb/openssl"

// A violation is one broken rule, at a place in the tree.
type violation struct {
	pos  token.Position
	rule string
}

func (v violation) String() string {
	if v.pos.Line == 0 {
		return fmt.Sprintf("%s: %s", v.pos.Filename, v.rule)
	}
	return fmt.Sprintf("%s:%d: %s", v.pos.Filename, v.pos.Line, v.rule)
}

func main() {
	dir := "."
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	found, files, err := check(os.DirFS(dir))
	if err != nil {
		fmt.Fprintln(os.Stderr, "fence:", err)
		os.Exit(2)
	}
	for _, v := range found {
		fmt.Println(v)
	}
	if len(found) > 0 {
		fmt.Fprintf(os.Stderr, "fence: %d violations\n", len(found))
		os.Exit(1)
	}
	fmt.Printf("fence: %d files keep to it\n", files)
}

// check walks the tree and returns what breaks a rule and how many files it
// read. A tree without the module's files is an error, not a success.
func check(tree fs.FS) (found []violation, files int, err error) {
	if _, err := fs.Stat(tree, "go.mod"); err != nil {
		return nil, 0, fmt.Errorf("not the root of a module: %w", err)
	}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && notSource(d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		switch path.Ext(name) {
		case ".go":
			files++
			source, err := fs.ReadFile(tree, name)
			if err != nil {
				return err
			}
			found = append(found, checkFile(name, source)...)
		case ".c", ".h", ".cc", ".cpp", ".s", ".S":
			if !mayUseC(name) && !under(name, "bench") {
				found = append(found, violation{token.Position{Filename: name}, "C outside cshim and internal/chost"})
			}
		}
		return nil
	})
	if err == nil && files == 0 {
		err = fmt.Errorf("found no Go files")
	}
	return found, files, err
}

// notSource reports directories that the go command does not look into.
func notSource(base string) bool {
	return base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")
}

func checkFile(name string, source []byte) (found []violation) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return []violation{{token.Position{Filename: name}, "does not parse: " + err.Error()}}
	}
	report := func(pos token.Pos, format string, args ...any) {
		found = append(found, violation{set.Position(pos), fmt.Sprintf(format, args...)})
	}

	runtimeName := "" // what this file calls package runtime
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has refused it
		}
		switch {
		case imported == "C" && !mayUseC(name):
			report(spec.Pos(), `import "C" outside cshim, internal/chost and bench/prototype`)
		case imported == "unsafe" && !mayUseC(name) && name != "ssl/attach.go":
			report(spec.Pos(), "unsafe outside cshim, internal/chost, bench/prototype and ssl/attach.go")
		case imported == "runtime":
			runtimeName = "runtime"
			if spec.Name != nil {
				runtimeName = spec.Name.Name
			}
		case imported == module || strings.HasPrefix(imported, module+"/"):
			to := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
			if !mayImport(name, to) {
				report(spec.Pos(), "%s must not import %s", path.Dir(name), to)
			}
		}
	}

	for _, group := range file.Comments {
		for _, comment := range group.List {
			// As cgo reads it: the line begins so, without a space before the word.
			if strings.HasPrefix(comment.Text, "//export ") && name != "cshim/export.go" && name != "bench/prototype/store.go" {
				report(comment.Pos(), "//export outside cshim/export.go and bench/prototype/store.go")
			}
		}
	}

	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && n.Sel.Name == "SetFinalizer" && x.Name == runtimeName {
				report(n.Pos(), "runtime.SetFinalizer: use runtime.AddCleanup")
			}
		case *ast.Ident:
			if runtimeName == "." && n.Name == "SetFinalizer" {
				report(n.Pos(), "runtime.SetFinalizer: use runtime.AddCleanup")
			}
		}
		return true
	})
	return found
}

// mayUseC reports whether a file may hold C, cgo and unsafe. The prototype is a
// peer of the benchmark, and shares nothing with the binding that it is beside.
func mayUseC(name string) bool {
	return under(name, "cshim") || under(name, "internal/chost") || under(name, "bench/prototype")
}

// under reports whether name is the directory dir or anything in it.
func under(name, dir string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }

// A direction says what the packages of a directory may import of this module:
// a directory stands for itself, with /... for all that is in it too. Tests may
// import what is in tests besides. A package may always import its own
// directory's packages, and internal/sealed, which imports nothing.
type direction struct {
	dir            string
	imports, tests []string
}

// The first that fits a file counts.
var directions = []direction{
	{"cshim", nil, []string{"internal/chost/..."}},
	{"internal/chost", nil, []string{"cshim", "ssl", "sessioncb/..."}},
	{"internal/fleettest", nil, []string{"cshim", "ssl", "sessioncb/...", "internal/testserver", "internal/chost/..."}},
	{"internal/fleetsim", []string{"sessioncb"}, nil},
	{"internal/storebytes", []string{"sessioncb/...", "internal/testserver"}, nil},
	{"internal/doccheck", nil, []string{"sessioncb/..."}},
	{"internal", nil, nil},
	{"bench/ours", []string{"cshim", "ssl", "sessioncb/...", "bench/..."}, nil},           // counts what is alive
	{"bench/prototype", []string{"bench/..."}, []string{"cshim", "ssl", "sessioncb/..."}}, // tested by the binding's client
	{"sessioncb", nil, []string{"internal/testserver"}},
	{"ssl", []string{"cshim", "sessioncb"}, []string{"sessioncb/...", "internal/chost/...", "internal/testserver"}},
	{".", []string{"ssl", "sessioncb/...", "internal/testserver"}, []string{"internal/chost/..."}}, // cmd, bench, scripts
}

func mayImport(name, to string) bool {
	if to == "internal/sealed" {
		return true
	}
	for _, d := range directions {
		if d.dir != "." && !under(name, d.dir) {
			continue
		}
		if d.dir == "." {
			top, _, _ := strings.Cut(name, "/")
			if under(to, top) {
				return true
			}
		} else if under(to, d.dir) && d.dir != "internal" {
			return true
		}
		allowed := d.imports
		if strings.HasSuffix(name, "_test.go") {
			allowed = append(allowed[:len(allowed):len(allowed)], d.tests...)
		}
		for _, a := range allowed {
			if dir, all := strings.CutSuffix(a, "/..."); to == dir || all && under(to, dir) {
				return true
			}
		}
		return false
	}
	return false
}
