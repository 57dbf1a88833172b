package interop

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goimapDrives are the tests of what go-imap's client can ask for, by the
// capabilities that they need of the server.
var goimapDrives = []struct {
	name string
	run  func(*testing.T, *server)
	caps []imap.Cap
}{
	{"IDLE", goimapIdle, []imap.Cap{imap.CapIdle}},
	{"CONDSTORE", goimapCondstore, []imap.Cap{imap.CapCondStore}},
	{"mailboxes", goimapMailboxes, []imap.Cap{imap.CapIMAP4rev2, imap.CapEnable, imap.CapListStatus, imap.CapChildren, imap.CapNamespace, imap.CapID, imap.CapUnselect}},
	{"messages", goimapMessages, []imap.Cap{imap.CapIMAP4rev1, imap.CapUIDPlus, imap.CapESearch, imap.CapMove, imap.CapLiteralPlus, imap.CapLiteralMinus}},
	{"ACL", goimapACL, []imap.Cap{imap.CapACL}},
	{"QUOTA", goimapQuota, []imap.Cap{imap.CapQuota}},
	{"METADATA", goimapMetadata, []imap.Cap{imap.CapMetadata}},
	{"SORT and THREAD", goimapSort, []imap.Cap{imap.CapSort}},
	{"BINARY", goimapResults, []imap.Cap{imap.CapBinary}},
	{"SEARCHRES", goimapSaved, []imap.Cap{imap.CapSearchRes}},
	{"CREATE-SPECIAL-USE", goimapSpecialUse, []imap.Cap{imap.CapCreateSpecialUse, imap.CapSpecialUse}},
	{"SASL-IR and UNAUTHENTICATE", goimapAuthenticate, []imap.Cap{imap.CapSASLIR, imap.CapUnauthenticate}},
	{"STATUS", goimapStatus, []imap.Cap{imap.CapStatusSize}},
	{"UTF8=ACCEPT", goimapUTF8, []imap.Cap{imap.CapUTF8Accept}},
	{"LIST-EXTENDED", goimapListExtended, []imap.Cap{imap.CapListExtended}},
	{"APPENDLIMIT", goimapAppendLimit, []imap.Cap{imap.CapAppendLimit}},
	{"STARTTLS", goimapStartTLS, []imap.Cap{imap.CapStartTLS, imap.CapLoginDisabled}},
}

// goimapNames are capabilities of which the client has the name and no command.
var goimapNames = []imap.Cap{
	imap.CapCatenate, imap.CapESort, imap.CapFilters, imap.CapInProgress, imap.CapListMetadata, imap.CapListMyRights, imap.CapMultiAppend, imap.CapMultiSearch, imap.CapNotify, imap.CapObjectID,
	imap.CapPreview, imap.CapQResync, imap.CapReplace, imap.CapSaveDate, imap.CapSortDisplay, imap.CapURLPartial, imap.CapURLAuth, imap.CapUIDOnly, imap.CapWithin,
}

// goimapAbsent are those that our server does not offer, or not here.
var goimapAbsent = map[imap.Cap]string{
	imap.CapConvert:          "no conversions",
	imap.CapLanguage:         "one language",
	imap.CapLoginReferrals:   "no referrals",
	imap.CapMailboxReferrals: "no referrals",
	imap.CapMetadataServer:   "METADATA has the server's annotations",
	imap.CapQuotaSet:         "limits are the administrator's to set",
	imap.CapSearchFuzzy:      "no index here",
	imap.CapUTF8Only:         "clients without UTF-8 are served",
	imap.CapLiteralMinus:     "implied by LITERAL+",
}

// TestGoIMAPExtensions has go-imap's client use every extension that it knows. The
// list of these is taken from its source.
func TestGoIMAPExtensions(t *testing.T) {
	t.Parallel()
	s := start(t)
	known := goimapKnown(t)
	c := s.login(t, alice, nil)
	caps, err := c.Capability().Wait()
	require.NoError(t, err)
	guest, err := imapclient.DialInsecure(s.addrs["imap"], nil)
	require.NoError(t, err)
	defer guest.Close()
	for before := range guest.Caps() {
		caps[before] = struct{}{}
	}
	driven := map[imap.Cap]bool{}
	for _, d := range goimapDrives {
		for _, name := range d.caps {
			driven[name] = true
		}
	}
	for _, name := range goimapNames {
		assert.False(t, driven[name], "%s is driven", name)
		driven[name] = true
	}
	for _, name := range known {
		_, offered := caps[name]
		if name == imap.CapAppendLimit {
			_, offered = caps.AppendLimit()
		}
		absent := goimapAbsent[name] != ""
		assert.NotEqual(t, absent, offered, "%s: offered %t", name, offered)
		assert.True(t, absent || driven[name], "nothing drives %s", name)
	}
	assert.GreaterOrEqual(t, len(known), 55)
	for _, d := range goimapDrives {
		t.Run(d.name, func(t *testing.T) { d.run(t, s) })
	}
}

// goimapKnown are the capabilities that the client's source names.
func goimapKnown(t *testing.T) (known []imap.Cap) {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/emersion/go-imap/v2").Output()
	require.NoError(t, err)
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "capability.go"), nil, 0)
	require.NoError(t, err)
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Cap") {
			return true
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
			name, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			known = append(known, imap.Cap(name))
		}
		return true
	})
	return known
}

// A "$" is understood. The client has an option for SAVE and does not send it, so
// there is nothing in it.
func goimapSaved(t *testing.T, s *server) {
	c := s.login(t, bob, nil)
	require.NoError(t, c.Create("Saved", nil).Wait())
	s.append(t, bob, "Saved", message(alice, bob, "one", "x"))
	_, err := c.Select("Saved", nil).Wait()
	require.NoError(t, err)
	got, err := c.Fetch(imap.SearchRes(), &imap.FetchOptions{UID: true}).Collect()
	require.NoError(t, err)
	assert.Empty(t, got)
}

// Selections and what they return (RFC 5258).
func goimapListExtended(t *testing.T, s *server) {
	c := s.login(t, bob, nil)
	for _, name := range []string{"Tree", "Tree/Leaf", "Tree/Branch", "Tree/Branch/Bud"} {
		require.NoError(t, c.Create(name, nil).Wait())
	}
	require.NoError(t, c.Subscribe("Tree/Branch/Bud").Wait())
	require.NoError(t, c.Subscribe("Tree/Gone").Wait())
	list, err := c.List("", "Tree*", &imap.ListOptions{SelectSubscribed: true, ReturnChildren: true}).Collect()
	require.NoError(t, err)
	attrs := map[string][]imap.MailboxAttr{}
	for _, d := range list {
		attrs[d.Mailbox] = d.Attrs
	}
	require.Len(t, attrs, 2)
	assert.Subset(t, attrs["Tree/Branch/Bud"], []imap.MailboxAttr{imap.MailboxAttrSubscribed, imap.MailboxAttrHasNoChildren})
	assert.Subset(t, attrs["Tree/Gone"], []imap.MailboxAttr{imap.MailboxAttrSubscribed, imap.MailboxAttrNonExistent})
	list, err = c.List("", "Tree/%", &imap.ListOptions{SelectSubscribed: true, SelectRecursiveMatch: true}).Collect()
	require.NoError(t, err)
	attrs = map[string][]imap.MailboxAttr{}
	for _, d := range list {
		attrs[d.Mailbox] = d.Attrs
		if d.Mailbox == "Tree/Branch" {
			require.NotNil(t, d.ChildInfo)
			assert.True(t, d.ChildInfo.Subscribed)
		}
	}
	assert.Contains(t, attrs, "Tree/Branch")
	assert.NotContains(t, attrs, "Tree/Leaf")
}

// A message larger than the limit is refused before it is sent.
func goimapAppendLimit(t *testing.T, s *server) {
	c := s.login(t, bob, nil)
	_, err := c.Capability().Wait()
	require.NoError(t, err)
	limit, ok := c.Caps().AppendLimit()
	require.True(t, ok)
	require.NotNil(t, limit)
	status, err := c.Status("INBOX", &imap.StatusOptions{AppendLimit: true}).Wait()
	require.NoError(t, err)
	assert.Equal(t, *limit, *status.AppendLimit)
	k := talkTo(t, s.addrs["imaps"], bob, bobPassword)
	_, answer := k.ask("APPEND INBOX {" + strconv.FormatUint(uint64(*limit)+1, 10) + "}")
	assert.Equal(t, "NO [TOOBIG]", answer)
}

// Without TLS there is STARTTLS, and no LOGIN.
func goimapStartTLS(t *testing.T, s *server) {
	c, err := imapclient.DialInsecure(s.addrs["imap"], nil)
	require.NoError(t, err)
	defer c.Close()
	assert.True(t, c.Caps().Has(imap.CapStartTLS))
	assert.True(t, c.Caps().Has(imap.CapLoginDisabled))
	require.Error(t, c.Login(alice, alicePassword).Wait())
	c, err = imapclient.DialStartTLS(s.addrs["imap"], &imapclient.Options{TLSConfig: trusting(t)})
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.Login(alice, alicePassword).Wait())
	caps := c.Caps()
	assert.False(t, caps.Has(imap.CapStartTLS))
	assert.False(t, caps.Has(imap.CapLoginDisabled))
	require.NoError(t, c.Logout().Wait())
}
