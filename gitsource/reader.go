package gitsource

// Reader reads the objects of what was fetched, for one goroutine. Close it.
func (s *Source) Reader() (Reader, error) { return s.origin.open() }
