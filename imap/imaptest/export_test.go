package imaptest

// RunOne is one dialogue of Run.
var RunOne = run
