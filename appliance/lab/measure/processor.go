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

// Busy is how long the machine's processors together have been at work since it started, for whatever process, interrupt
// or packet, to a hundredth of a second. Time that a hypervisor gave to others is not in it.
func Busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return busy(string(text))
}

func busy(text string) (time.Duration, error) {
	line, _, _ := strings.Cut(text, "\n")
	// cpu user nice system idle iowait irq softirq steal guest guest_nice; user and nice contain the guests'.
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat: found %q, expected the processors' times", line)
	}
	var ticks uint64
	for _, i := range []int{1, 2, 3, 6, 7} {
		v, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		ticks += v
	}
	return time.Duration(ticks) * processorTick, nil
}

// Quantile is the value below which the share q of all lie, by the nearest rank; 0 if there are none.
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
