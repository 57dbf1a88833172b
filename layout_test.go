package posta_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/posta-mail/posta"

// layers is the house: a package imports only from below (ARCHITECTURE.md).
var layers = []struct {
	layer int
	what  []string // a trailing /* stands for one more element
}{
	{6, []string{"examples/*", "cmd/*"}},
	{5, []string{"mta"}},
	{4, []string{"mta/delivery", "mta/report", "auth/verify", "auth/audit"}},
	{3, []string{"mda", "mda/managesieve", "mta/queue", "mta/route", "mta/tlspolicy", "mta/dsn", "auth/dmarc", "auth/arc"}},
	{3, []string{"smtp/smtptest", "imap/imaptest", "store/storetest", "store/transfer"}},
	{2, []string{"smtp", "imap", "pop3"}},
	{2, []string{"auth/spf", "auth/dkim", "auth/authres", "auth/iprev", "auth/dnsbl", "auth/srs", "auth/bimi", "auth/password", "auth/oidc", "auth/ldap", "auth/dovecot", "mda/sieve"}},
	{2, []string{"internal/testauth"}}, // knows auth
	{2, []string{"store/sqlite", "store/maildir", "store/memory", "store/postgres"}},
	{1, []string{"store", "auth", "dns"}},
	{0, []string{"auth/sasl", "message", "internal/*"}},
}

// never lists arrows that no layer excuses: from matches a package, to what
// it must not import.
var never = []struct{ from, to string }{
	{`^smtp$`, `^(store|mta|mda|dns|auth/(spf|dkim|dmarc|arc|authres|iprev|dnsbl|srs|bimi))(/|$)`},
	{`^(imap$|imap/internal/|(pop3|mda|mta)(/|$))`, `^store/(sqlite|maildir|memory|postgres)$`},
	{`^store/(sqlite|maildir|memory|postgres)$`, `^(smtp|imap|pop3|mta)(/|$)`},
	{`^auth/(spf|dkim|dmarc|arc|authres)$`, `^(smtp|imap|pop3)(/|$)`},
}

// outside are the modules a package may use beyond the standard library,
// where that is bound.
var outside = []struct {
	module string
	only   string // packages that may import it outside of tests
}{
	{"github.com/miekg/dns", `^(dns|internal/testdns)$`},
	{"modernc.org/sqlite", `^store/(sqlite|maildir)$`},
	{"github.com/emersion/go-message", `^message$`},
	{"github.com/coreos/go-oidc/v3", `^auth/oidc$`},
	{"github.com/go-jose/go-jose/v4", `^auth/oidc$`},
	{"github.com/golang-jwt/jwt/v5", `^auth/oidc$`},
	{"golang.org/x/oauth2", `^auth/oidc$`},
	{"github.com/go-ldap/ldap/v3", `^auth/ldap$`},
	{"github.com/stretchr/testify", `^(store/storetest|smtp/smtptest|imap/imaptest|internal/test\w+)$`},
	{"gopkg.in/yaml.v3", `^$`},
}

func layerOf(pkg string) int {
	for _, l := range layers {
		for _, w := range l.what {
			if w == pkg || strings.HasSuffix(w, "/*") && path.Dir(pkg) == path.Dir(w) {
				return l.layer
			}
		}
	}
	// A package's own internal folder is below it.
	if before, _, ok := strings.Cut(pkg, "/internal/"); ok {
		if l := layerOf(before); l >= 0 {
			return l
		}
	}
	return -1
}

// goFile is a parsed file of the root module.
type goFile struct {
	name, pkg string // slash-separated path; folder
	test      bool
	lines     int
	fset      *token.FileSet
	ast       *ast.File
}

func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bench" && name == "bench" || name == "interop") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, src, parser.ParseComments)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		pkg := path.Dir(name)
		if pkg == "." {
			pkg = ""
		}
		files = append(files, goFile{name, pkg, strings.HasSuffix(name, "_test.go"), strings.Count(string(src), "\n"), fset, f})
		return nil
	})
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

func TestArrows(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		from := layerOf(f.pkg)
		if f.pkg != "" {
			assert.GreaterOrEqual(t, from, 0, "%s: package %s has no layer: the list grows only with a reason in ARCHITECTURE.md", f.name, f.pkg)
		}
		for _, spec := range f.ast.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			to, ours := strings.CutPrefix(imp, module+"/")
			if !ours {
				checkOutside(t, f, imp)
				continue
			}
			// The root is for programs: it imports nothing of ours.
			assert.NotEmpty(t, f.pkg, "the root package imports %s", to)
			if strings.HasPrefix(to, f.pkg+"/internal/") {
				continue
			}
			assert.Less(t, layerOf(to), from, "%s imports %s, which is not below it", f.name, to)
			for _, n := range never {
				if regexp.MustCompile(n.from).MatchString(f.pkg) {
					assert.NotRegexp(t, n.to, to, "%s must never import %s", f.name, to)
				}
			}
		}
	}
}

func checkOutside(t *testing.T, f goFile, imp string) {
	for _, o := range outside {
		if imp == o.module || strings.HasPrefix(imp, o.module+"/") {
			assert.Regexp(t, o.only, f.pkg, "%s imports %s", f.name, imp)
		}
	}
	if f.pkg == "" && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
		t.Errorf("the root package is for the standard library only: %s imports %s", f.name, imp)
	}
	if imp == "net/textproto" {
		t.Errorf("%s: nothing on a hostile wire goes through net/textproto", f.name)
	}
}

// No exported declaration may show a type of an internal package.
func TestNoInternalTypesInAPI(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test || strings.Contains(f.pkg, "internal") || f.ast.Name.Name == "main" {
			continue
		}
		internals := map[string]bool{}
		for _, spec := range f.ast.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			if strings.Contains(imp, "/internal/") {
				name := path.Base(imp)
				if spec.Name != nil {
					name = spec.Name.Name
				}
				internals[name] = true
			}
		}
		if len(internals) == 0 {
			continue
		}
		for _, d := range f.ast.Decls {
			for _, e := range exportedTypes(d) {
				ast.Inspect(e, func(n ast.Node) bool {
					if sel, ok := n.(*ast.SelectorExpr); ok {
						if x, ok := sel.X.(*ast.Ident); ok && internals[x.Name] {
							t.Errorf("%s: the API shows %s.%s", f.fset.Position(sel.Pos()), x.Name, sel.Sel.Name)
						}
					}
					return true
				})
			}
		}
	}
}

// exportedTypes are the type expressions that a declaration shows.
func exportedTypes(d ast.Decl) []ast.Node {
	var nodes []ast.Node
	switch d := d.(type) {
	case *ast.FuncDecl:
		if !d.Name.IsExported() {
			return nil
		}
		if d.Recv != nil && len(d.Recv.List) == 1 {
			recv := d.Recv.List[0].Type
			if star, ok := recv.(*ast.StarExpr); ok {
				recv = star.X
			}
			if id, ok := recv.(*ast.Ident); ok && !id.IsExported() {
				return nil
			}
		}
		return []ast.Node{d.Type}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					nodes = append(nodes, shownBy(s.Type)...)
				}
			case *ast.ValueSpec:
				if s.Type != nil && slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) {
					nodes = append(nodes, s.Type)
				}
			}
		}
	}
	return nodes
}

func shownBy(typ ast.Expr) []ast.Node {
	st, ok := typ.(*ast.StructType)
	if !ok {
		return []ast.Node{typ}
	}
	var nodes []ast.Node
	for _, field := range st.Fields.List {
		if len(field.Names) == 0 || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) {
			nodes = append(nodes, field.Type)
		}
	}
	return nodes
}

// Budgets: a file above them hides a noun, a function a verb.
func TestSizes(t *testing.T) {
	var sizes []int
	for _, f := range goFiles(t) {
		sizes = append(sizes, f.lines)
		assert.LessOrEqual(t, f.lines, 800, "%s is too long", f.name)
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil || f.test && isTable(fn) {
				continue
			}
			n := f.fset.Position(fn.End()).Line - f.fset.Position(fn.Pos()).Line + 1
			assert.LessOrEqual(t, n, 120, "%s: %s is too long", f.name, fn.Name.Name)
		}
	}
	slices.Sort(sizes)
	assert.LessOrEqual(t, sizes[len(sizes)*9/10], 500, "nine files in ten stay within 500 lines")
}

// isTable reports whether a test function is mostly a table of cases or of
// subtests.
func isTable(fn *ast.FuncDecl) bool {
	cases := 0
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			cases++
		case *ast.CallExpr:
			if sel, ok := n.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Run" {
				cases++
			}
		}
		return true
	})
	return cases >= 4
}

func TestNoInitAndNoGlobalState(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s registers something in init", f.name)
			}
		}
	}
}

// licences are those of every module the root module is built or tested with.
var licences = map[string]string{
	"github.com/Azure/go-ntlmssp":      "MIT",
	"github.com/dustin/go-humanize":    "MIT",
	"github.com/emersion/go-message":   "MIT",
	"github.com/emersion/go-sasl":      "MIT",
	"github.com/go-asn1-ber/asn1-ber":  "MIT",
	"github.com/go-jose/go-jose/v4":    "Apache",
	"github.com/go-ldap/ldap/v3":       "MIT",
	"github.com/google/uuid":           "BSD",
	"github.com/mattn/go-isatty":       "MIT",
	"github.com/miekg/dns":             "BSD",
	"github.com/ncruces/go-strftime":   "MIT",
	"github.com/remyoudompheng/bigfft": "BSD",
	"github.com/stretchr/testify":      "MIT",
	"go.yaml.in/yaml/v3":               "MIT",
	"golang.org/x/crypto":              "BSD",
	"golang.org/x/mod":                 "BSD",
	"golang.org/x/net":                 "BSD",
	"golang.org/x/sync":                "BSD",
	"golang.org/x/sys":                 "BSD",
	"golang.org/x/text":                "BSD",
	"golang.org/x/tools":               "BSD",
	"gopkg.in/yaml.v3":                 "MIT",
	"modernc.org/libc":                 "BSD",
	"modernc.org/mathutil":             "BSD",
	"modernc.org/memory":               "BSD",
	"modernc.org/sqlite":               "BSD",
}

var licenceText = map[string]*regexp.Regexp{
	"MIT":    regexp.MustCompile(`(?s)Permission is hereby granted, free of charge.*without restriction`),
	"BSD":    regexp.MustCompile(`(?s)Redistribution\s+and\s+use\s+in\s+source\s+and\s+binary\s+forms.*provided\s+that`),
	"ISC":    regexp.MustCompile(`(?s)Permission to use, copy, modify, and/?o?r? distribute this software for any`),
	"Apache": regexp.MustCompile(`Apache License`),
}

func TestLicences(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile(`(?m)^(?:require )?\t?([a-z0-9.]+/\S+|[a-z0-9.]+\.[a-z]+/\S+) (v\S+)`).FindAllStringSubmatch(string(mod), -1) {
		name, version := m[1], m[2]
		kind, ok := licences[name]
		if !assert.True(t, ok, "%s: a new dependency needs its licence here and its reason in the commit", name) {
			continue
		}
		text := licenceOf(name, version)
		if text == "" {
			continue // not needed for this build, so not there to be read
		}
		assert.Regexp(t, licenceText[kind], text, name)
	}
}

func licenceOf(name, version string) string {
	cache := os.Getenv("GOMODCACHE")
	if cache == "" {
		gopath := os.Getenv("GOPATH")
		if gopath == "" {
			home, _ := os.UserHomeDir()
			gopath = filepath.Join(home, "go")
		}
		cache = filepath.Join(gopath, "pkg", "mod")
	}
	for _, file := range []string{"LICENSE", "LICENSE.md", "LICENSE.txt", "COPYING"} {
		if b, err := os.ReadFile(filepath.Join(cache, filepath.FromSlash(name)+"@"+version, file)); err == nil {
			return string(b)
		}
	}
	return ""
}

// Where is …? A stranger should find it within a minute: each of these files
// and identifiers must exist.
func TestWhereIs(t *testing.T) {
	for _, q := range []struct{ question, file, identifier string }{
		{"the end of DATA decided", "internal/wire/dotreader.go", "DotReader"},
		{"a relay attempt refused", "mta/inbound.go", "mayRelay"},
		{"the sender of a submission checked", "mta/author.go", "checkAuthors"},
		{"the retry schedule", "mta/queue/schedule.go", "next"},
		{"a null MX recognised", "mta/route/route.go", "errNullMX"},
		{"a bounce composed", "mta/dsn/dsn.go", "Report"},
		{"an alias expanded", "mda/resolve.go", "expansion"},
		{"a password guesser slowed down", "auth/governor.go", "Admit"},
		{"SPF's limit on lookups", "auth/spf/result.go", "ErrLookupLimit"},
		{"the organizational domain found", "auth/dmarc/walk.go", "Discover"},
		{"a batch committed to disk", "store/sqlite/commit.go", "commitLoop"},
		{"a UID assigned", "store/sqlite/place.go", "file"},
		{"what changed between two snapshots", "store/snapshot.go", "Diff"},
		{"FETCH answered", "imap/fetch.go", "fetch"},
		{"POP3's mailbox lock", "pop3/lock.go", "takeLock"},
	} {
		f, err := parser.ParseFile(token.NewFileSet(), q.file, nil, 0)
		if !assert.NoError(t, err, "where is %s?", q.question) {
			continue
		}
		found := false
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				found = found || n.Name.Name == q.identifier
			case *ast.TypeSpec:
				found = found || n.Name.Name == q.identifier
			case *ast.ValueSpec:
				found = found || slices.ContainsFunc(n.Names, func(id *ast.Ident) bool { return id.Name == q.identifier })
			}
			return true
		})
		assert.True(t, found, "where is %s? %s declares no %s", q.question, q.file, q.identifier)
	}
}
