package smtp

import "strconv"

// MTPriority says that a Session knows priorities (RFC 6710): MT-PRIORITY of
// MAIL. profile is the name of the policy that gives them their meaning (§3,
// §9.3), such as "MIXER"; empty for none.
func MTPriority(profile string) Extension {
	e := Extension{Keyword: "MT-PRIORITY", known: map[string]typedParam{
		"MT-PRIORITY": {mail: func(_ *session, opts *MailOptions, p param) *Error {
			n, err := strconv.Atoi(p.value)
			// RFC 6710 §4: "-" and a digit but 0, or a digit.
			if err != nil || n < -9 || n > 9 || strconv.Itoa(n) != p.value {
				return badParam("MT-PRIORITY is a number from -9 to 9")
			}
			opts.Priority = n
			return nil
		}},
	}}
	if profile != "" {
		e.Keyword += " " + profile
	}
	return e
}
