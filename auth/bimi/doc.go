// Package bimi finds the brand indicator that a domain publishes for its mail,
// by draft-brand-indicators-for-message-identification (a draft, not an RFC).
//
// It looks the record up and says where the indicator and its certificate are.
// It fetches neither, and checks no certificate: to show an indicator without
// that is to show what anybody may claim.
//
//	f := bimi.Finder{Resolver: resolver}
//	r := f.Find(ctx, bimi.Input{Domain: "a.example", OrgDomain: "a.example", Enforced: true})
//	fmt.Println(r.Status, r.Record.Location)
package bimi
