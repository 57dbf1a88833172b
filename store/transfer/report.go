package transfer

// Report is what Copy has done.
type Report struct {
	// Folders were copied, all their messages that could be.
	Folders int
	// Messages were filed by this call, with this many octets.
	Messages int64
	Octets   int64
	// Earlier is how many messages earlier calls filed, by the checkpoint.
	Earlier int64
	// Duplicates were there already.
	Duplicates int64
	// Altered were filed without something, such as keywords above the limit.
	Altered int64
	// Skipped is how many messages and folders were left out; Skips says why
	// of the first 100. Options.Skipped hears of all.
	Skipped int64
	Skips   []Skip
	// Renamed are folders whose names had to be changed: from, to.
	Renamed map[string]string
}

// maxSkips is how many reasons a Report keeps.
const maxSkips = 100

// Skip is a message, or a folder if Message is empty, that was left out.
type Skip struct {
	Folder  string
	Message string // Message.ID
	Err     error
}

// Progress is how far a copy is.
type Progress struct {
	Folder string // under work
	// Messages and Octets have been seen to their end, those of earlier calls
	// included; the totals are negative while they are not known. A source
	// whose messages grow or shrink on their way says so only roughly.
	Messages, TotalMessages int64
	Octets, TotalOctets     int64
	Skipped                 int64
}
