package image

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Disk is one that images are kept on.
type Disk struct {
	Path       string
	Size, Free int64 // bytes
}

// Thresholds say which images that nobody uses are removed, and when. The zero value keeps all.
type Thresholds struct {
	High, Low int           // percent of the disk in use: above High images are removed until it is at Low. High 0 or 100: never
	MinAge    time.Duration // one that came later is kept
	MaxAge    time.Duration // one that was not used for so long is removed, whatever room there is; 0: never
}

// DefaultThresholds are those of Kubernetes.
func DefaultThresholds() Thresholds { return Thresholds{High: 85, Low: 80, MinAge: 2 * time.Minute} }

// Validate says what is wrong with t.
func (t Thresholds) Validate() error {
	switch {
	case t.High < 0 || t.High > 100:
		return fmt.Errorf("the high threshold is %d: want a percentage from 0 to 100", t.High)
	case t.Low < 0 || t.Low > t.High:
		return fmt.Errorf("the low threshold is %d: want a percentage from 0 to the high one, which is %d", t.Low, t.High)
	case t.MinAge < 0 || t.MaxAge < 0:
		return fmt.Errorf("an age is negative")
	case t.MaxAge > 0 && t.MaxAge < t.MinAge:
		return fmt.Errorf("the maximum age %s is below the minimum age %s", t.MaxAge, t.MinAge)
	}
	return nil
}

// Used is how many percent of a disk are in use.
func (d Disk) Used() int {
	if d.Size <= 0 {
		return 0
	}
	return 100 - int(d.Free*100/d.Size)
}

// Excess is how many bytes are to be freed on a disk that is above High: as many as bring it to Low. 0: it is not.
func (t Thresholds) Excess(d Disk) int64 {
	if t.High <= 0 || t.High >= 100 || d.Used() < t.High {
		return 0
	}
	return max(0, d.Size*int64(100-t.Low)/100-d.Free)
}

// An Unused image is one that may be removed.
type Unused struct {
	ID   string
	Refs []string  // all of them
	Size int64     // bytes
	Last time.Time // when it was last in use, as far as known; else when it came
}

// Unused are the images that may be removed, those that were not used for longest first. inUse has the references and IDs
// that pods of this node name; last is when an ID was last seen in use.
func (t Thresholds) Unused(have []Image, inUse map[string]bool, last map[string]time.Time, now time.Time) []Unused {
	byID := map[string]*Unused{}
	kept := map[string]bool{}
	for _, i := range have {
		u := byID[i.ID]
		if u == nil {
			u = &Unused{ID: i.ID, Size: i.Size, Last: last[i.ID]}
			byID[i.ID] = u
		}
		u.Refs = append(u.Refs, i.Ref)
		if i.Since.After(u.Last) {
			u.Last = i.Since
		}
		if i.Loaded || Host(i.Ref) == Local || inUse[i.Ref] || inUse[i.ID] || now.Sub(i.Since) < t.MinAge {
			kept[i.ID] = true
		}
	}
	var all []Unused
	for id, u := range byID {
		if !kept[id] {
			all = append(all, *u)
		}
	}
	slices.SortFunc(all, func(a, b Unused) int { return cmp.Or(a.Last.Compare(b.Last), cmp.Compare(a.ID, b.ID)) })
	return all
}

// Outdated are those of them that were not used for longer than MaxAge.
func (t Thresholds) Outdated(all []Unused, now time.Time) []Unused {
	if t.MaxAge <= 0 {
		return nil
	}
	n, _ := slices.BinarySearchFunc(all, now.Add(-t.MaxAge), func(u Unused, at time.Time) int { return u.Last.Compare(at) })
	return all[:n]
}
