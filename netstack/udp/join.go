package udp

import "kedge/netstack/packet"

// maxOpen is how many flows' super-packets may grow at once.
const maxOpen = 8

// joiner fills a batch with packets, joining those that follow each other in one flow. The order within each flow stays.
type joiner struct {
	pkts  []*packet.Packet
	n     int
	join  bool
	runs  []packet.Joiner // one for each of pkts[:n]
	open  [maxOpen]int    // those that may grow, the one that grew last in front
	opens int
}

// added says what became of a packet.
type added uint8

const (
	taken   added = iota
	full          // the batch is full: the packet is still to come
	tooLong       // the packet at its place in the batch has too little room for it
)

func (j *joiner) start(pkts []*packet.Packet, join bool) {
	j.pkts, j.n, j.opens, j.join = pkts, 0, 0, join
	if len(j.runs) < len(pkts) {
		j.runs = make([]packet.Joiner, len(pkts))
	}
}

// separate keeps what comes from what was there.
func (j *joiner) separate() { j.opens = 0 }

func (j *joiner) add(b []byte, from *origin) added {
	for i := range j.opens {
		run := &j.runs[j.open[i]]
		if !run.SameFlow(b) {
			continue
		}
		if !run.Add(b) {
			j.close(i)
			break
		}
		if !run.Open() {
			j.close(i)
		} else if i > 0 {
			index := j.open[i]
			copy(j.open[1:], j.open[:i])
			j.open[0] = index
		}
		return taken
	}
	if j.n == len(j.pkts) {
		return full
	}
	p, run := j.pkts[j.n], &j.runs[j.n]
	if !j.join {
		if !p.Set(b) {
			return tooLong
		}
		*run = packet.Joiner{}
	} else if !run.Begin(p, b) {
		return tooLong
	}
	p.Peer, p.Local, p.TrafficClass = from.peer, from.local, from.trafficClass
	if run.Open() {
		j.opens = min(j.opens+1, maxOpen)
		copy(j.open[1:], j.open[:j.opens-1])
		j.open[0] = j.n
	} else if !flows(b[6]) {
		j.opens = 0
	}
	j.n++
	return taken
}

// flows reports whether packets with this next header tell which flow they are of. Any other, such as a fragment, may be of
// any.
func flows(nextHeader uint8) bool {
	const tcp, udp, icmp = 6, 17, 58
	return nextHeader == tcp || nextHeader == udp || nextHeader == icmp
}

func (j *joiner) close(i int) {
	copy(j.open[i:], j.open[i+1:j.opens])
	j.opens--
}

// finish completes the packets and returns how many there are.
func (j *joiner) finish() int {
	for i := range j.runs[:j.n] {
		j.runs[i].Finish()
	}
	j.pkts = nil
	return j.n
}
