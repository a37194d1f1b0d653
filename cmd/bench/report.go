package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

// A report is what a run has found.
type report struct {
	Host     string    `json:"host"`
	Rows     []*row    `json:"rows"`
	Failures []failure `json:"failures,omitempty"`
}

type failure struct {
	Measure string `json:"measure"`
	Error   string `json:"error"`
}

// A row is one thing that was measured: samples of ours and, where there is one, of the floor, both in the order of the rounds.
type row struct {
	Name     string    `json:"name"`
	Unit     string    `json:"unit"`
	Ours     []float64 `json:"ours"`
	Floor    []float64 `json:"floor,omitempty"`
	FloorIs  string    `json:"floorIs,omitempty"`
	Aim      float64   `json:"aim,omitempty"`      // for the median of ours; 0: none
	AimRatio float64   `json:"aimRatio,omitempty"` // for the ratio; 0: none
}

// row begins a row of the report.
func (b *bench) row(r row) *row {
	r.Ours = []float64{}
	b.report.Rows = append(b.report.Rows, &r)
	return &r
}

func (r *row) ours(v float64)  { r.Ours = append(r.Ours, v) }
func (r *row) floor(v float64) { r.Floor = append(r.Floor, v) }

// ratio is the median of the ratios of each round; 0 without a floor.
func (r *row) ratio() float64 {
	var all []float64
	for i := range min(len(r.Ours), len(r.Floor)) {
		if r.Floor[i] > 0 {
			all = append(all, r.Ours[i]/r.Floor[i])
		}
	}
	return median(all)
}

// missed tells whether an aim is missed.
func (r *row) missed() bool {
	return r.Aim > 0 && median(r.Ours) > r.Aim || r.AimRatio > 0 && r.ratio() > r.AimRatio
}

func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(all))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// writeTable prints the median of each row, with the least and the greatest sample.
func (r *report) writeTable(w io.Writer) error {
	fmt.Fprintf(w, "\n%s\n\n", r.Host)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "MEASURE\tOURS\tFLOOR\tRATIO\tAIM\t")
	for _, row := range r.Rows {
		if len(row.Ours) == 0 {
			continue
		}
		floor, ratio := "", ""
		if len(row.Floor) > 0 {
			floor = spread(row.Floor, row.Unit) + " " + row.FloorIs
			ratio = fmt.Sprintf("%.2fx", row.ratio())
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t\n", row.Name, spread(row.Ours, row.Unit), floor, ratio, row.aim())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range r.Failures {
		fmt.Fprintf(w, "\nFAILED %s: %s\n", f.Measure, f.Error)
	}
	return nil
}

func (r *row) aim() string {
	var aims []string
	if r.Aim > 0 {
		aims = append(aims, number(r.Aim)+" "+r.Unit)
	}
	if r.AimRatio > 0 {
		aims = append(aims, fmt.Sprintf("%.2fx", r.AimRatio))
	}
	if r.missed() {
		aims = append(aims, "(missed)")
	}
	return strings.Join(aims, " ")
}

func spread(all []float64, unit string) string {
	if len(all) == 1 {
		return number(all[0]) + " " + unit
	}
	return fmt.Sprintf("%s %s (%s-%s, %d)", number(median(all)), unit, number(slices.Min(all)), number(slices.Max(all)), len(all))
}

// number has three digits that matter.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// describeHost says what the figures were measured on.
func describeHost() string {
	var u unix.Utsname
	var fs unix.Statfs_t
	kernel, data := "?", "?"
	if unix.Uname(&u) == nil {
		kernel = string(bytes.TrimRight(u.Release[:], "\x00"))
	}
	if unix.Statfs(os.TempDir(), &fs) == nil {
		data = fmt.Sprintf("file system %#x", fs.Type)
		if name, ok := map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs"}[fs.Type]; ok {
			data = name
		}
	}
	load := "?"
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = strings.Fields(string(b))[0]
	}
	return fmt.Sprintf("%d CPUs, Linux %s, data on %s in %s, load %s before", runtime.NumCPU(), kernel, data, os.TempDir(), load)
}
