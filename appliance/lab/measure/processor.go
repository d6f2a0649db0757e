package measure

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// processorTick is the unit of /proc/stat: USER_HZ is 100 on every architecture that we build for.
const processorTick = 10 * time.Millisecond

// Processors is what became of the time of all the machine's processors together since it started, to a hundredth of a second.
type Processors struct {
	// Busy they were at work, for whatever process, interrupt or packet.
	Busy time.Duration
	// Stolen they had work, but a hypervisor gave them to others.
	Stolen time.Duration
}

// Spent reads what the kernel counted up to now.
func Spent() (Processors, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Processors{}, err
	}
	return spent(string(text))
}

func spent(text string) (p Processors, err error) {
	line, _, _ := strings.Cut(text, "\n")
	// cpu user nice system idle iowait irq softirq steal guest guest_nice; user and nice contain the guests'.
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return p, fmt.Errorf("/proc/stat: found %q, expected the processors' times", line)
	}
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		ticks, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return Processors{}, fmt.Errorf("/proc/stat: %w", err)
		}
		if took := time.Duration(ticks) * processorTick; i == 8 {
			p.Stolen = took
		} else {
			p.Busy += took
		}
	}
	return p, nil
}

// Since is what was spent after before was read.
func (p Processors) Since(before Processors) Processors {
	return Processors{Busy: p.Busy - before.Busy, Stolen: p.Stolen - before.Stolen}
}

// Quantile is the value below which the share q of all lie, by the nearest rank; 0 if there are none.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
