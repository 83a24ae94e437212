package doccheck

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
)

// packages are those whose names the pages use, by the name that the pages
// give them.
var packages = map[string]string{
	"cshim":     "cshim",
	"ssl":       "ssl",
	"sessioncb": "sessioncb",
	"memstore":  "sessioncb/memstore",
	"livestore": "sessioncb/livestore",
	"boltstore": "sessioncb/boltstore",
	"storetest": "sessioncb/storetest",
}

// names are the exported names of packages: "ssl.Config", "Config.Name",
// "ssl.Config.Name". A field or method of a type stands under the type with
// and without its package.
type names map[string]bool

func exported(t *testing.T) names {
	t.Helper()
	found := names{}
	for short, dir := range packages {
		files, err := fs.Glob(root, path.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files: %v", dir, len(files), err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			source, err := fs.ReadFile(root, name)
			if err != nil {
				t.Fatal(err)
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range file.Decls {
				found.add(short, decl)
			}
		}
	}
	return found
}

func (n names) add(short string, decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			n[short+"."+d.Name.Name] = true
			return
		}
		n.member(short, receiver(d.Recv.List[0].Type), d.Name.Name)
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				for _, id := range s.Names {
					n[short+"."+id.Name] = true
				}
			case *ast.TypeSpec:
				n[short+"."+s.Name.Name] = true
				var fields *ast.FieldList
				switch x := s.Type.(type) {
				case *ast.StructType:
					fields = x.Fields
				case *ast.InterfaceType:
					fields = x.Methods
				default:
					continue
				}
				for _, f := range fields.List {
					for _, id := range f.Names {
						n.member(short, s.Name.Name, id.Name)
					}
				}
			}
		}
	}
}

func (n names) member(short, typ, name string) {
	n[typ] = true
	n[typ+"."+name] = true
	n[short+"."+typ+"."+name] = true
}

func receiver(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.StarExpr:
		return receiver(x.X)
	case *ast.IndexExpr:
		return receiver(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}

var selector = regexp.MustCompile(`^(\w+)\.([A-Z]\w*)((?:\.[A-Z]\w*)?)(\(.*\))?$`)

// unknownNames returns what p writes as a name of one of packages, or as a
// field or method of one of their types, and is none.
func unknownNames(n names, p page) (looked int, unknown []string) {
	for _, m := range codePattern.FindAllStringSubmatch(p.prose, -1) {
		s := selector.FindStringSubmatch(m[1])
		if s == nil {
			continue
		}
		first := s[1]
		if packages[first] == "" && !n[first] {
			continue // of another package
		}
		looked++
		if name := first + "." + s[2] + s[3]; !n[name] {
			unknown = append(unknown, name)
		}
	}
	return looked, unknown
}

func TestNames(t *testing.T) {
	n := exported(t)
	looked := 0
	for _, p := range pages(t) {
		count, unknown := unknownNames(n, p)
		looked += count
		for _, name := range unknown {
			t.Errorf("%s: there is no %s", p.name, name)
		}
	}
	if looked < 50 {
		t.Errorf("%d names were looked at: this shows nothing", looked)
	}
	p := newPage("x.md", "`ssl.Config` `Config.Name` `ssl.Config.Nome` `Config.Nome` `ssl.Nothing` `http.Server` `Cache.Stats()`")
	if looked, unknown := unknownNames(n, p); looked != 6 || strings.Join(unknown, " ") != "ssl.Config.Nome Config.Nome ssl.Nothing" {
		t.Errorf("of %d names these are unknown: %q", looked, unknown)
	}
}

// A test that a page names, to be run or as a proof, exists.
func TestNamedTests(t *testing.T) {
	tests := map[string]bool{}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		source, err := fs.ReadFile(root, name)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w+)\(`).FindAllSubmatch(source, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, p := range pages(t) {
		for _, m := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(p.text, -1) {
			looked++
			if !begins(tests, m) {
				t.Errorf("%s: there is no test %s", p.name, m)
			}
		}
	}
	if looked < 20 {
		t.Errorf("%d names of tests were looked at: this shows nothing", looked)
	}
	if begins(tests, fmt.Sprint("Test", "NoSuchTestAnywhere")) {
		t.Error("a test is found that does not exist")
	}
}

// begins says whether a test's name begins with name: -run matches so.
func begins(tests map[string]bool, name string) bool {
	if tests[name] {
		return true
	}
	for have := range tests {
		if strings.HasPrefix(have, name) {
			return true
		}
	}
	return false
}
