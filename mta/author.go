package mta

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/smtp"
)

var (
	errSender      = smtp.Errorf(550, smtp.EnhancedCode{5, 7, 1}, "Sender address does not belong to you")
	errFrom        = smtp.Errorf(550, smtp.EnhancedCode{5, 7, 1}, "From address does not belong to you")
	errSenderField = smtp.Errorf(550, smtp.EnhancedCode{5, 7, 1}, "Address in the Sender field does not belong to you")
	errFromCount   = smtp.Errorf(554, smtp.EnhancedCode{5, 6, 0}, "Message must have exactly one From field")
	errSenderCount = smtp.Errorf(554, smtp.EnhancedCode{5, 6, 0}, "Message must not have more than one Sender field")
	errAuthor      = smtp.Errorf(554, smtp.EnhancedCode{5, 6, 0}, "From or Sender field is malformed (RFC 5322 section 3.6.2)")
)

// checkAuthors demands that every address of From, and of Sender if there is
// one, belongs to the user, and returns the first author's domain.
func checkAuthors(h *message.Header, id *auth.Identity) (domain string, err error) {
	from, sender := h.All("From"), h.All("Sender")
	switch { // RFC 5322 §3.6
	case len(from) != 1:
		return "", errFromCount
	case len(sender) > 1:
		return "", errSenderCount
	}
	if domain, err = checkMailboxes(from[0], id, errFrom); err != nil {
		return "", err
	}
	if len(sender) == 1 {
		_, err = checkMailboxes(sender[0], id, errSenderField)
	}
	return domain, err
}

// checkMailboxes is strict: a field that some other program might read
// differently could show it an address that nobody has checked.
func checkMailboxes(f message.Field, id *auth.Identity, foreign error) (domain string, err error) {
	list, defects := message.ParseAddressList(f.Value())
	sound := len(defects) == 0 && utf8.Valid(f.Raw()) && bytes.IndexByte(f.Raw(), 0) < 0
	for _, addr := range list {
		if !addr.IsMailbox() {
			continue
		}
		path, err := smtp.ParseAddress(addr.Addr())
		// A source route is an address before the address, an encoded word in
		// the local part one that only careless programs decode (RFC 2047 §5).
		if err != nil || addr.Route != "" || strings.Contains(path.Local, "=?") {
			sound = false
			continue
		}
		if !id.MaySend(path.Address()) {
			return "", foreign
		}
		if domain == "" {
			domain = path.Domain
		}
	}
	if !sound || domain == "" {
		return "", errAuthor
	}
	return domain, nil
}
