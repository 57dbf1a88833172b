package imap

// BudgetUsed is how many octets of MemoryBudget are lent out.
func (s *Server) BudgetUsed() int64 { return s.budget.Used() }
