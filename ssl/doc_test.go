package ssl

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Every package that programs import, and every exported name in it, says what
// it is.
func TestEveryNameIsDocumented(t *testing.T) {
	checked := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		case slices.Contains([]string{".git", "testdata", "internal", "cshim", "cmd", "scripts", "bench"}, d.Name()):
			return filepath.SkipDir
		}
		files, err := filepath.Glob(filepath.Join(path, "*.go"))
		if err != nil {
			return err
		}
		files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
		if len(files) > 0 {
			checked++
			for _, what := range undocumented(t, path, files) {
				t.Error(what)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 3 {
		t.Errorf("%d packages were looked at: this test shows nothing", checked)
	}
}

func undocumented(t *testing.T, dir string, files []string) (list []string) {
	t.Helper()
	fset := token.NewFileSet()
	var parsed []*ast.File
	for _, name := range files {
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, f)
	}
	p, err := doc.NewFromFiles(fset, parsed, "github.com/sessioncb/openssl/"+filepath.Base(dir), doc.PreserveAST)
	if err != nil {
		t.Fatal(err)
	}
	miss := func(pos token.Pos, format string, args ...any) {
		list = append(list, fmt.Sprintf("%s: %s", fset.Position(pos), fmt.Sprintf(format, args...)))
	}
	if !strings.HasPrefix(p.Doc, "Package "+p.Name+" ") {
		list = append(list, fmt.Sprintf("%s: the package's comment does not begin with %q", dir, "Package "+p.Name))
	}
	values := func(all []*doc.Value) {
		for _, v := range all {
			for _, spec := range v.Decl.Specs {
				s := spec.(*ast.ValueSpec)
				if v.Doc == "" && s.Doc == nil && s.Comment == nil && s.Names[0].IsExported() {
					miss(s.Pos(), "%s has no comment", s.Names[0].Name)
				}
			}
		}
	}
	funcs := func(all []*doc.Func) {
		for _, f := range all {
			if f.Recv != "" && f.Name == "Error" {
				continue // the error interface says it
			}
			if !begins(f.Doc, f.Name) {
				miss(f.Decl.Pos(), "%s%s: the comment is missing or does not begin with the name", f.Recv, f.Name)
			}
		}
	}
	values(p.Consts)
	values(p.Vars)
	funcs(p.Funcs)
	for _, typ := range p.Types {
		if !begins(typ.Doc, typ.Name) {
			miss(typ.Decl.Pos(), "%s: the comment is missing or does not begin with the name", typ.Name)
		}
		values(typ.Consts)
		values(typ.Vars)
		funcs(typ.Funcs)
		funcs(typ.Methods)
		for _, spec := range typ.Decl.Specs {
			switch s := spec.(*ast.TypeSpec).Type.(type) {
			case *ast.StructType:
				fields(fset, typ.Name, typ.Doc, s.Fields, miss)
			case *ast.InterfaceType:
				fields(fset, typ.Name, typ.Doc, s.Methods, miss)
			}
		}
	}
	return list
}

// begins says whether text begins with the name, or with an article and it.
func begins(text, name string) bool {
	return regexp.MustCompile(`^(An? |The )?` + regexp.QuoteMeta(name) + `\b`).MatchString(text)
}

// fields looks for fields and methods that nothing explains. A comment counts
// for the lines right below it too, and the type's comment for all that it
// names, or for all there is if no field has one. A field of a documented type
// may have that type's name.
func fields(fset *token.FileSet, typ, text string, all *ast.FieldList, miss func(token.Pos, string, ...any)) {
	if !slices.ContainsFunc(all.List, func(f *ast.Field) bool { return f.Doc != nil || f.Comment != nil }) {
		return
	}
	covered := -1 // the last line that a comment counts for
	for _, f := range all.List {
		line := fset.Position(f.Pos()).Line
		if f.Doc != nil || f.Comment != nil || line == covered+1 {
			covered = fset.Position(f.End()).Line
			continue
		}
		for _, name := range f.Names {
			if id, ok := f.Type.(*ast.Ident); ok && id.Name == name.Name {
				continue
			}
			if name.IsExported() && !regexp.MustCompile(`\b`+name.Name+`\b`).MatchString(text) {
				miss(f.Pos(), "%s.%s has no comment", typ, name.Name)
			}
		}
	}
}
