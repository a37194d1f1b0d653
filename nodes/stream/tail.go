package stream

import (
	"bytes"
	"io"
	"os"
)

// tail opens the file in which the last n lines begin, and returns where they begin in it. A line is a record that ends
// one; the records of its earlier parts belong to it.
func (r *Reader) tail(n int64) (int64, error) {
	if err := r.newestFile(); err != nil {
		return 0, err
	}
	for {
		start, found, err := backwards(r.file, n)
		if err != nil || n == 0 {
			return start, err
		}
		if n -= found; n <= 0 && start > 0 {
			return start, nil
		}
		older, err := r.older()
		if err != nil || !older {
			return start, err
		}
		n = max(n, 0)
	}
}

// newestFile opens the file that is written.
func (r *Reader) newestFile() error {
	f, err := os.Open(r.path)
	if err != nil {
		return err
	}
	r.take(f, 0)
	return nil
}

// older opens the full file before the one that is open; false if there is none.
func (r *Reader) older() (bool, error) {
	number, err := r.numberOf()
	if err != nil {
		return false, err
	}
	numbers, err := rotated(r.path)
	if err != nil {
		return false, err
	}
	for i := len(numbers) - 1; i >= 0; i-- {
		if number > 0 && numbers[i] >= number {
			continue
		}
		f, err := os.Open(numbered(r.path, numbers[i]))
		if err != nil {
			return false, nil // removed since: what is left begins here
		}
		r.take(f, numbers[i])
		return true, nil
	}
	return false, nil
}

// backwards looks for the beginning of the last n lines of a file. It returns where they begin, or 0, and how many lines
// there are from there on.
func backwards(f *os.File, n int64) (start, found int64, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return end, 0, err
	}
	var tail []byte // the beginning of the line whose end was read before
	for end > 0 {
		size := min(end, block)
		buf := make([]byte, size, int(size)+len(tail))
		if _, err := f.ReadAt(buf, end-size); err != nil {
			return 0, found, err
		}
		end -= size
		buf = append(buf, tail...)
		for {
			cut := len(buf)
			at := bytes.LastIndexByte(buf[:max(cut-1, 0)], '\n')
			if at < 0 {
				tail = buf
				break
			}
			if whole(buf[at+1:]) {
				if found == n {
					return end + int64(cut), found, nil
				}
				found++
			}
			buf = buf[:at+1]
		}
	}
	if whole(tail) {
		if found == n {
			return int64(len(tail)), found, nil
		}
		found++
	}
	return 0, found, nil
}

// whole tells whether a record ends a line.
func whole(line []byte) bool {
	r, ok := parse(line)
	return ok && !r.partial
}
