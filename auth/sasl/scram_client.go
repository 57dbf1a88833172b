package sasl

import (
	"crypto/hmac"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	gosasl "github.com/emersion/go-sasl"
)

// NewSCRAMClient proves user by SCRAM with the named hash, "SHA-512", "SHA-256"
// or "SHA-1" (RFC 5802, RFC 7677), without channel binding. The password never
// travels. The client refuses iteration counts outside MinIterations to
// MaxIterations and a server whose signature is wrong with ErrServer. It
// implements [Verifier], which the protocol must ask once the server reports
// success. authzid is usually empty. The password is prepared by [Prep];
// ErrPrepare comes from Start.
func NewSCRAMClient(hash, authzid, user, password string) (gosasl.Client, error) {
	return SCRAM{Hash: hash, ActAs: authzid, User: user, Password: password}.Client()
}

// SCRAM is a client's side of SCRAM with all that it can have; see
// [NewSCRAMClient] for what it does.
type SCRAM struct {
	Hash           string // "SHA-512", "SHA-256" or "SHA-1"
	ActAs          string // authorization identity; usually empty
	User, Password string
	// Binding is what the connection can be bound to, its zero value if to
	// nothing. See [TLSBinding].
	Binding ChannelBinding
	// Plus says that the server offers the -PLUS variant, which is then used.
	// Without it, but with Binding, the server is told that it has not offered
	// it (RFC 5802 §6).
	Plus bool
}

// Client starts an exchange. Errors are ErrKeys for an unknown hash and
// ErrBinding for Plus without a Binding.
func (s SCRAM) Client() (gosasl.Client, error) {
	h, err := hashByName(s.Hash)
	if err != nil {
		return nil, err
	}
	c := &scramClient{h: h, authzid: s.ActAs, user: s.User, password: s.Password, nonce: newNonce, flag: "n"}
	switch {
	case s.Plus && !s.Binding.usable():
		return nil, ErrBinding
	case s.Plus:
		c.flag, c.binding = "p="+s.Binding.Type, s.Binding.Data
		c.h.mechanism += Plus
	case s.Binding.usable():
		c.flag = "y"
	}
	return c, nil
}

type scramClient struct {
	h                       scramHash
	authzid, user, password string
	nonce                   func() string
	flag                    string // gs2-cbind-flag
	binding                 []byte

	step      int // 0 not started, 1 client-first sent, 2 proof sent, 3 verified, 4 failed
	gs2, bare string
	mine      string // own nonce
	prepared  string
	signature []byte // what the server must send
}

// Verified implements Verifier.
func (c *scramClient) Verified() bool { return c.step == 3 }

func (c *scramClient) Start() (string, []byte, error) {
	if c.user == "" || c.password == "" {
		return "", nil, fmt.Errorf("%w: empty name or password", ErrMalformed)
	}
	user, err := Prep(c.user) // RFC 5802 §5.1
	if err != nil {
		return "", nil, err
	}
	if c.prepared, err = Prep(c.password); err != nil {
		return "", nil, err
	}
	if user == "" || c.prepared == "" {
		return "", nil, fmt.Errorf("%w: nothing is left", ErrPrepare)
	}
	authzid := c.authzid
	if authzid != "" {
		authzid = "a=" + nameEncoder.Replace(authzid)
	}
	c.mine = c.nonce()
	c.gs2 = c.flag + "," + authzid + ","
	c.bare = "n=" + nameEncoder.Replace(user) + ",r=" + c.mine
	c.step = 1
	return c.h.mechanism, []byte(c.gs2 + c.bare), nil
}

func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	step := c.step
	c.step = 4 // unless what follows says otherwise
	if err := checkText(challenge, false); err != nil {
		return nil, err
	}
	switch step {
	case 1:
		response, err := c.serverFirst(string(challenge))
		if err == nil {
			c.step = 2
		}
		return response, err
	case 2:
		if err := c.serverFinal(string(challenge)); err != nil {
			return nil, err
		}
		c.step = 3
		return []byte{}, nil
	}
	return nil, gosasl.ErrUnexpectedServerChallenge
}

// serverFirst reads server-first-message and answers client-final-message.
func (c *scramClient) serverFirst(m string) ([]byte, error) {
	attributes := strings.Split(m, ",")
	if len(attributes) < 3 {
		return nil, fmt.Errorf("%w: nonce, salt and iterations expected", ErrMalformed)
	}
	nonce, err := attribute(attributes[0], 'r') // "m=" is refused here too
	if err != nil {
		return nil, err
	}
	salt64, err := attribute(attributes[1], 's')
	if err != nil {
		return nil, err
	}
	count, err := attribute(attributes[2], 'i')
	if err != nil {
		return nil, err
	}
	if err := checkExtensions(attributes[3:]); err != nil {
		return nil, err
	}
	// RFC 5802 §5.1: the nonce begins with ours and the server adds to it.
	if err := checkNonce(nonce); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(nonce, c.mine) || len(nonce) == len(c.mine) {
		return nil, fmt.Errorf("%w: nonce", ErrServer)
	}
	salt, err := decode64(salt64)
	if err != nil {
		return nil, err
	}
	iterations, err := strconv.Atoi(count)
	if err != nil || strconv.Itoa(iterations) != count || // RFC 5802 §7: no sign, no leading zero
		iterations < MinIterations || iterations > MaxIterations || len(salt) > maxSalt {
		return nil, fmt.Errorf("%w: iterations or salt out of bounds", ErrServer)
	}
	salted, err := c.h.salted(c.prepared, salt, iterations)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrServer, err)
	}
	without := "c=" + base64.StdEncoding.EncodeToString(append([]byte(c.gs2), c.binding...)) + ",r=" + nonce
	message := c.bare + "," + m + "," + without
	key := c.h.mac(salted, "Client Key")
	proof := make([]byte, c.h.size)
	subtle.XORBytes(proof, key, c.h.mac(c.h.sum(key), message))
	c.signature = c.h.mac(c.h.mac(salted, "Server Key"), message)
	return []byte(without + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// serverFinal checks that the server knows the password too.
func (c *scramClient) serverFinal(m string) error {
	attributes := strings.Split(m, ",")
	if e, ok := strings.CutPrefix(attributes[0], "e="); ok {
		return fmt.Errorf("%w: server error %.64q", ErrServer, e)
	}
	value, err := attribute(attributes[0], 'v')
	if err != nil {
		return err
	}
	if err := checkExtensions(attributes[1:]); err != nil {
		return err
	}
	signature, err := decode64(value)
	if err != nil {
		return err
	}
	if !hmac.Equal(signature, c.signature) {
		return fmt.Errorf("%w: wrong server signature", ErrServer)
	}
	return nil
}
