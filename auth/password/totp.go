package password

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ErrTOTP: a TOTP whose fields are out of their bounds, or an URI that is none.
var ErrTOTP = errors.New("password: not a TOTP")

// TOTP is a secret from which codes are made that change with time (RFC 6238), and
// how. NewTOTP makes one; only Secret is needed. A value whose fields are out of
// their bounds has no codes. Safe for concurrent use while nobody changes it.
type TOTP struct {
	Secret []byte        // 10 to 64 octets
	Hash   string        // "SHA1", "SHA256" or "SHA512"; "": SHA1, which every app has
	Digits int           // 6 to 8; 0: 6
	Period time.Duration // of one code, whole seconds up to an hour; 0: 30 s
}

// NewTOTP has a secret of 160 random bits (RFC 4226 §4, R6) and the defaults.
func NewTOTP() TOTP { return TOTP{Secret: randomBytes(20)} }

// String does not show the secret.
func (t TOTP) String() string {
	t = t.settled()
	return fmt.Sprintf("TOTP %s, %d digits, %v", t.Hash, t.Digits, t.Period)
}

// GoString is String.
func (t TOTP) GoString() string { return t.String() }

func (t TOTP) settled() TOTP {
	if t.Hash == "" {
		t.Hash = "SHA1"
	}
	t.Digits = orDefault(t.Digits, 6)
	t.Period = orDefault(t.Period, 30*time.Second)
	return t
}

func (t TOTP) check() error {
	if hotpHash(t.Hash) == nil || t.Digits < 6 || t.Digits > 8 || len(t.Secret) < 10 || len(t.Secret) > 64 ||
		t.Period < time.Second || t.Period > time.Hour || t.Period%time.Second != 0 {
		return ErrTOTP
	}
	return nil
}

func hotpHash(name string) func() hash.Hash {
	switch name {
	case "SHA1":
		return sha1.New
	case "SHA256":
		return sha256.New
	case "SHA512":
		return sha512.New
	}
	return nil
}

// HOTP is the code for a counter (RFC 4226 §5.3); "" when t is out of bounds.
// Period does not matter.
func (t TOTP) HOTP(counter uint64) string {
	t = t.settled()
	if t.check() != nil {
		return ""
	}
	m := hmac.New(hotpHash(t.Hash), t.Secret)
	m.Write(binary.BigEndian.AppendUint64(nil, counter))
	sum := m.Sum(nil)
	at := sum[len(sum)-1] & 15
	v := binary.BigEndian.Uint32(sum[at:]) & 0x7fffffff
	mod := uint32(1)
	for range t.Digits {
		mod *= 10
	}
	return fmt.Sprintf("%0*d", t.Digits, v%mod)
}

// step is the number of a time's period (RFC 6238 §4.2), 0 before 1970.
func (t TOTP) step(at time.Time) int64 {
	return max(0, at.Unix()) / int64(t.settled().Period/time.Second)
}

// Code is what the user's app shows at a time; "" when t is out of bounds.
func (t TOTP) Code(at time.Time) string {
	if t.settled().check() != nil {
		return ""
	}
	return t.HOTP(uint64(t.step(at)))
}

// Verify tells whether a code is right at a time, or was one period before, or
// will be one after (RFC 6238 §5.2), and newer than the one of step last, which
// was used last (0: none): no code is good twice. step is to be remembered in
// its place. Spaces in the code do not count. The time does not depend on how
// wrong it is. There are only 10^Digits codes: limit the tries.
func (t TOTP) Verify(code string, at time.Time, last int64) (step int64, ok bool) {
	code = strings.ReplaceAll(code[:min(len(code), 32)], " ", "")
	if t.settled().check() != nil {
		return 0, false
	}
	now := t.step(at)
	for s := max(now-1, 0); s <= now+1; s++ {
		same := subtle.ConstantTimeCompare([]byte(t.HOTP(uint64(s))), []byte(code)) == 1
		if same && s > last {
			step, ok = s, true
		}
	}
	return step, ok
}

var base32Secret = base32.StdEncoding.WithPadding(base32.NoPadding)

// URI is what authenticator apps read from a QR code: otpauth://totp/issuer:account
// with its parameters. issuer is the name of the service, account the user's; "/"
// and ":" in them become "-", as apps read them differently. It holds the secret.
func (t TOTP) URI(issuer, account string) string {
	t = t.settled()
	plain := strings.NewReplacer(":", "-", "/", "-")
	issuer, account = plain.Replace(issuer), plain.Replace(account)
	label := account
	if issuer != "" {
		label = issuer + ":" + account
	}
	q := url.Values{
		"secret": {base32Secret.EncodeToString(t.Secret)}, "algorithm": {t.Hash}, "digits": {strconv.Itoa(t.Digits)},
		"period": {strconv.Itoa(int(t.Period / time.Second))},
	}
	if issuer != "" {
		q.Set("issuer", issuer)
	}
	// Some apps show a "+" for a space.
	return "otpauth://totp/" + url.PathEscape(label) + "?" + strings.ReplaceAll(q.Encode(), "+", "%20")
}

// ParseTOTP reads an otpauth URI, for those who bring their own. Parameters that are
// not known are passed over. Errors wrap ErrTOTP.
func ParseTOTP(uri string) (t TOTP, issuer, account string, err error) {
	bad := func(what string) (TOTP, string, string, error) {
		return TOTP{}, "", "", fmt.Errorf("%w: %s", ErrTOTP, what)
	}
	if len(uri) > 2048 {
		return bad("longer than 2,048 octets")
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Opaque != "" {
		return bad("no otpauth://totp/ URI")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return bad("parameters")
	}
	secret := strings.ToUpper(strings.TrimRight(strings.ReplaceAll(q.Get("secret"), " ", ""), "="))
	if t.Secret, err = base32Secret.DecodeString(secret); err != nil {
		return bad("secret") // not in the error: it would be logged
	}
	t.Hash = strings.ToUpper(q.Get("algorithm"))
	for _, n := range []struct {
		name string
		to   func(int)
	}{{"digits", func(v int) { t.Digits = v }}, {"period", func(v int) { t.Period = time.Duration(v) * time.Second }}} {
		if s := q.Get(n.name); s != "" {
			v, err := strconv.Atoi(s)
			if err != nil || v <= 0 || v > 3600 {
				return bad(n.name)
			}
			n.to(v)
		}
	}
	t = t.settled()
	if err := t.check(); err != nil {
		return bad("secret, algorithm, digits or period out of bounds")
	}
	issuer, account, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), ":")
	if !ok {
		issuer, account = "", issuer
	}
	if q.Has("issuer") {
		issuer = q.Get("issuer")
	}
	return t, issuer, strings.TrimSpace(account), nil
}
