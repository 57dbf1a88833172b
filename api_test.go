package posta_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The exported API, package by package, in api/: a change of it shows in the
// diff of a commit. `go test -run TestAPI -update .` rewrites the files.
func TestAPI(t *testing.T) {
	api := map[string][]string{}
	for _, f := range goFiles(t) {
		if f.test || f.ast.Name.Name == "main" || strings.Contains("/"+f.pkg+"/", "/internal/") {
			continue
		}
		name := f.pkg
		if name == "" {
			name = "posta"
		}
		for _, d := range f.ast.Decls {
			api[name] = append(api[name], exportedDecl(t, f.fset, d)...)
		}
	}
	known := map[string]bool{}
	for pkg, decls := range api {
		slices.Sort(decls)
		file := filepath.Join("api", strings.ReplaceAll(pkg, "/", ".")+".txt")
		known[file] = true
		text := strings.Join(decls, "\n") + "\n"
		if *update {
			require.NoError(t, os.MkdirAll("api", 0o755))
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
			continue
		}
		golden, err := os.ReadFile(file)
		require.NoError(t, err, "run with -update")
		assert.Equal(t, string(golden), text, "the API of %s has changed: run with -update and review the diff", pkg)
	}
	files, err := filepath.Glob("api/*.txt")
	require.NoError(t, err)
	for _, f := range files {
		if !known[f] {
			if *update {
				require.NoError(t, os.Remove(f))
				continue
			}
			t.Errorf("%s describes a package that is gone", f)
		}
	}
}

// exportedDecl prints what a declaration shows, a line or block for each name.
func exportedDecl(t *testing.T, fset *token.FileSet, d ast.Decl) []string {
	var out []string
	show := func(n ast.Node) {
		var b bytes.Buffer
		require.NoError(t, format.Node(&b, fset, n))
		out = append(out, b.String())
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		if len(exportedTypes(d)) > 0 {
			show(&ast.FuncDecl{Recv: d.Recv, Name: d.Name, Type: d.Type})
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					c := *s
					c.Doc, c.Comment = nil, nil
					c.Type = withoutComments(c.Type)
					show(&ast.GenDecl{Tok: token.TYPE, Specs: []ast.Spec{&c}})
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if !n.IsExported() {
						continue
					}
					line := d.Tok.String() + " " + n.Name
					if s.Type != nil {
						var b bytes.Buffer
						require.NoError(t, format.Node(&b, fset, s.Type))
						line += " " + b.String()
					}
					out = append(out, line)
				}
			}
		}
	}
	return out
}

// withoutComments is a type as its users see it: exported fields and methods,
// without comments.
func withoutComments(e ast.Expr) ast.Expr {
	strip := func(l *ast.FieldList, embedded bool) *ast.FieldList {
		kept := &ast.FieldList{Opening: l.Opening, Closing: l.Closing}
		hidden := 0
		for _, f := range l.List {
			names := slices.DeleteFunc(slices.Clone(f.Names), func(n *ast.Ident) bool { return !n.IsExported() })
			if len(f.Names) > 0 && len(names) == 0 || len(f.Names) == 0 && !embedded {
				hidden++
				continue
			}
			kept.List = append(kept.List, &ast.Field{Names: names, Type: withoutComments(f.Type), Tag: f.Tag})
		}
		if hidden > 0 {
			kept.List = append(kept.List, &ast.Field{Type: ast.NewIdent(fmt.Sprintf("_%d", min(hidden, 1)))})
		}
		return kept
	}
	switch e := e.(type) {
	case *ast.StructType:
		return &ast.StructType{Struct: e.Struct, Fields: strip(e.Fields, true)}
	case *ast.InterfaceType:
		return &ast.InterfaceType{Interface: e.Interface, Methods: strip(e.Methods, true)}
	}
	return e
}
