package sasl

import (
	"crypto/hmac"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"

	gosasl "github.com/emersion/go-sasl"
)

// NewSCRAMServer serves SCRAM (RFC 5802, RFC 7677) with the named hash,
// "SHA-512", "SHA-256" or "SHA-1", without channel binding. keys is called once with the
// client's name; for an unknown user it returns fake keys, and the exchange
// then fails as it does for a wrong password. authorize is called once after
// the proof has been verified. The data that comes with done is the server's
// signature, which the client needs. An unknown hash is ErrKeys.
func NewSCRAMServer(hash string, keys func(user string) (SCRAMKeys, error), authorize func(authzid, user string) error) (gosasl.Server, error) {
	s, err := newSCRAMServer(hash, keys, authorize)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func newSCRAMServer(hash string, keys func(user string) (SCRAMKeys, error), authorize func(authzid, user string) error) (*scramServer, error) {
	h, err := hashByName(hash)
	if err != nil {
		return nil, err
	}
	return &scramServer{h: h, keys: keys, authorize: authorize, nonce: newNonce}, nil
}

// NewBoundSCRAMServer is NewSCRAMServer where -PLUS is offered too. bindings are
// those of the connection (see [ServerBindings]), of which the client names one;
// plus says which of the two mechanisms it has chosen. A client that believes
// -PLUS not to be offered is refused with ErrProof: somebody has changed the list
// (RFC 5802 §6). One that names another type is refused with ErrMalformed, as it
// can't be told which there are. No bindings, or one that is none, are ErrBinding.
func NewBoundSCRAMServer(hash string, bindings []ChannelBinding, plus bool, keys func(user string) (SCRAMKeys, error), authorize func(authzid, user string) error) (gosasl.Server, error) {
	if len(bindings) == 0 || slices.ContainsFunc(bindings, func(b ChannelBinding) bool { return !b.usable() }) {
		return nil, ErrBinding
	}
	s, err := newSCRAMServer(hash, keys, authorize)
	if err != nil {
		return nil, err
	}
	s.bindings, s.plus = bindings, plus
	return s, nil
}

type scramServer struct {
	h         scramHash
	keys      func(user string) (SCRAMKeys, error)
	authorize func(authzid, user string) error
	nonce     func() string
	bindings  []ChannelBinding // none: -PLUS is not offered
	plus      bool             // the mechanism is -PLUS

	step          int    // 0 nothing said, 1 prompted, 2 server-first sent, 3 over
	gs2           string // the client's gs2-header, which c= must repeat
	data          []byte // of the binding the client has named
	authzid, user string
	first         string // client-first-message-bare "," server-first-message
	combined      string // both nonces
	k             SCRAMKeys
}

func (s *scramServer) Next(response []byte) ([]byte, bool, error) {
	if s.step == 0 && response == nil {
		s.step = 1
		return []byte{}, false, nil
	}
	step := s.step
	s.step = 3 // unless what follows says otherwise
	if err := checkText(response, false); err != nil {
		return nil, false, err
	}
	switch step {
	case 0, 1:
		challenge, err := s.clientFirst(string(response))
		if err == nil {
			s.step = 2
		}
		return challenge, false, err
	case 2:
		final, err := s.clientFinal(string(response))
		return final, err == nil, err
	}
	return nil, false, fmt.Errorf("%w: exchange is over", ErrMalformed)
}

// clientFirst reads client-first-message and answers server-first-message
// (RFC 5802 §7).
func (s *scramServer) clientFirst(m string) ([]byte, error) {
	parts := strings.SplitN(m, ",", 3)
	if len(parts) < 3 {
		return nil, fmt.Errorf("%w: gs2 header", ErrMalformed)
	}
	if err := s.checkFlag(parts[0]); err != nil {
		return nil, err
	}
	var err error
	if parts[1] != "" {
		name, err := attribute(parts[1], 'a')
		if err != nil {
			return nil, err
		}
		if s.authzid, err = decodeName(name); err != nil {
			return nil, err
		}
	}
	bare := parts[2]
	s.gs2 = m[:len(m)-len(bare)]
	attributes := strings.Split(bare, ",")
	if len(attributes) < 2 {
		return nil, fmt.Errorf("%w: name and nonce expected", ErrMalformed)
	}
	name, err := attribute(attributes[0], 'n') // "m=" is refused here too
	if err != nil {
		return nil, err
	}
	if s.user, err = decodeName(name); err != nil {
		return nil, err
	}
	nonce, err := attribute(attributes[1], 'r')
	if err != nil {
		return nil, err
	}
	if err := checkNonce(nonce); err != nil {
		return nil, err
	}
	if err := checkExtensions(attributes[2:]); err != nil {
		return nil, err
	}
	if s.k, err = s.keys(s.user); err != nil {
		return nil, err
	}
	k := s.k
	if len(k.Salt) == 0 || k.Iterations < MinIterations || len(k.StoredKey) != s.h.size || len(k.ServerKey) != s.h.size {
		return nil, fmt.Errorf("%w: from the back end", ErrKeys)
	}
	s.combined = nonce + s.nonce()
	challenge := "r=" + s.combined + ",s=" + base64.StdEncoding.EncodeToString(k.Salt) + ",i=" + strconv.Itoa(k.Iterations)
	s.first = bare + "," + challenge
	return []byte(challenge), nil
}

// checkFlag looks at gs2-cbind-flag (RFC 5802 §6): "n" the client has no
// channel binding, "y" it believes that we have none, "p" names the one it uses.
func (s *scramServer) checkFlag(flag string) error {
	name, bound := strings.CutPrefix(flag, "p=")
	i := slices.IndexFunc(s.bindings, func(b ChannelBinding) bool { return b.Type == name })
	switch {
	case s.plus && bound && i >= 0:
		s.data = s.bindings[i].Data
		return nil
	case s.plus || bound:
		return fmt.Errorf("%w: channel binding is not as offered", ErrMalformed)
	case flag == "y" && len(s.bindings) > 0:
		return fmt.Errorf("%w: the list of mechanisms has been changed on its way", ErrProof)
	case flag == "n" || flag == "y":
		return nil
	}
	return fmt.Errorf("%w: gs2 header", ErrMalformed)
}

// bound is what c= must be the base64 of.
func (s *scramServer) bound() []byte {
	return append([]byte(s.gs2), s.data...)
}

// clientFinal verifies client-final-message and answers server-final-message.
func (s *scramServer) clientFinal(m string) ([]byte, error) {
	at := strings.LastIndex(m, ",p=")
	if at < 0 {
		return nil, fmt.Errorf("%w: proof expected", ErrMalformed)
	}
	without := m[:at]
	proof, err := decode64(m[at+3:])
	if err != nil || len(proof) != s.h.size {
		return nil, fmt.Errorf("%w: proof", ErrMalformed)
	}
	attributes := strings.Split(without, ",")
	if len(attributes) < 2 {
		return nil, fmt.Errorf("%w: channel binding and nonce expected", ErrMalformed)
	}
	binding, err := attribute(attributes[0], 'c')
	if err != nil {
		return nil, err
	}
	nonce, err := attribute(attributes[1], 'r')
	if err != nil {
		return nil, err
	}
	if err := checkExtensions(attributes[2:]); err != nil {
		return nil, err
	}
	// RFC 5802 §6: c= is verified always, also without channel binding.
	if binding != base64.StdEncoding.EncodeToString(s.bound()) {
		return nil, fmt.Errorf("%w: channel binding", ErrProof)
	}
	if nonce != s.combined {
		return nil, fmt.Errorf("%w: nonce", ErrProof)
	}
	message := s.first + "," + without
	pair, ok := s.match(proof, message)
	if !ok {
		return nil, ErrProof
	}
	if pair.Matched != nil {
		if err := pair.Matched(); err != nil {
			return nil, err
		}
	}
	if err := s.authorize(s.authzid, s.user); err != nil {
		return nil, err
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(s.h.mac(pair.ServerKey, message))), nil
}

// match finds the keys that the proof was made with, in a time that does not
// depend on which they are.
func (s *scramServer) match(proof []byte, message string) (match SCRAMPair, ok bool) {
	key := make([]byte, s.h.size)
	for i := -1; i < len(s.k.More); i++ {
		pair := SCRAMPair{StoredKey: s.k.StoredKey, ServerKey: s.k.ServerKey}
		if i >= 0 {
			pair = s.k.More[i]
		}
		// RFC 5802 §3: ClientKey is ClientProof XOR ClientSignature.
		subtle.XORBytes(key, proof, s.h.mac(pair.StoredKey, message))
		if hmac.Equal(s.h.sum(key), pair.StoredKey) && !ok {
			match, ok = pair, true
		}
	}
	return match, ok
}
