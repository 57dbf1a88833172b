package arc

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
)

// suiteNames is how many names the cases of the suite have.
const suiteNames = 171

// differences are the cases in which the suite, written for draft 18, does not
// say what RFC 8617 says.
var differences = map[string]struct {
	status  Status
	section string // what decides
}{
	// The suite leaves the status of a chain empty in which a seal says cv=fail.
	"cv_fail_i1_as_cv_fail": {StatusFail, "RFC 8617 §5.2 step 2: the newest seal says fail, so the status is fail"},
	"cv_fail_i2_as2_fail":   {StatusFail, "RFC 8617 §5.2 step 2: the newest seal says fail, so the status is fail"},
	"cv_fail_i2_as1_fail":   {StatusFail, "RFC 8617 §5.2 step 3: no seal may say fail"},
	// The suite signed it relaxed/relaxed without saying so. Mail::DKIM fails it
	// too; dkimpy knows no other canonicalization for ARC.
	"ams_fields_c_na": {StatusFail, "RFC 8617 §4.1.2 with RFC 6376 §3.5: without c= it is simple/simple"},
}

// TestARCSuite runs the validation suite of the ARC working group.
func TestARCSuite(t *testing.T) {
	folder := os.Getenv("POSTA_VECTORS")
	if folder == "" {
		t.Skip("POSTA_VECTORS does not name the folder of the public vectors")
	}
	data, err := os.ReadFile(filepath.Join(folder, "arc", "arc-draft-validation-tests.yml"))
	require.NoError(t, err)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	names := make(map[string]bool)
	cases, differing := 0, 0
	for {
		var scenario struct {
			// Not a map: four names occur twice, with other messages.
			Tests   yaml.Node
			Records zone `yaml:"txt-records"`
		}
		if err := dec.Decode(&scenario); err == io.EOF {
			break
		} else {
			require.NoError(t, err)
		}
		for i := 0; i+1 < len(scenario.Tests.Content); i += 2 {
			name := scenario.Tests.Content[i].Value
			var c struct{ Description, Message, CV string }
			require.NoError(t, scenario.Tests.Content[i+1].Decode(&c))
			names[name] = true
			cases++
			t.Run(name, func(t *testing.T) {
				want := Status(strings.ToLower(c.CV))
				if d, ok := differences[name]; ok {
					require.NotEqual(t, want, d.status, "no difference")
					t.Logf("the suite says %q, %s", want, d.section)
					want, differing = d.status, differing+1
				}
				msg := strings.ReplaceAll(c.Message, "\n", "\r\n")
				r, err := (&Verifier{Resolver: scenario.Records}).Verify(context.Background(), strings.NewReader(msg))
				require.NoError(t, err)
				assert.Equal(t, want, r.Status, "%s: %v", c.Description, r.Err)
				assert.Equal(t, want == StatusFail, r.Err != nil)
				t.Log(r.Err)
			})
		}
	}
	assert.Equal(t, suiteNames, len(names))
	assert.Equal(t, suiteNames+4, cases)
	assert.Equal(t, len(differences), differing)
}
