// Package iprev checks whether the name of an IP address leads back to it (RFC
// 8601 §3): the PTR records of the address are looked up, and the addresses of
// each name, until one of them is the address itself.
//
//	res := (&iprev.Checker{}).Check(ctx, ip)
//	fmt.Println(res.Status, res.Name) // pass mx.example.org
//	field := authres.IPRev(res.Status.String(), res.IP, res.Name)
//
// Who runs a network writes its PTR records, and may name any host there. Only a
// name with a Pass is the address's own; it is good for logs and as a hint, and
// not a reason to trust anybody.
package iprev
