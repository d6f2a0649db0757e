package binding

// The heap holds slot numbers with the one due first on top. It is written out rather than made of container/heap because
// each move has to tell the slot its new place, and refreshes are the cache's most frequent work.

func (c *Cache) push(i uint32) {
	c.heap = append(c.heap, i)
	c.slot(i).position = uint32(len(c.heap) - 1)
	c.up(uint32(len(c.heap) - 1))
}

// remove takes the slot at position out.
func (c *Cache) remove(position uint32) {
	last := uint32(len(c.heap) - 1)
	c.swap(position, last)
	c.heap = c.heap[:last]
	if position < last {
		c.fix(position)
	}
}

// fix restores order after the slot at position changed.
func (c *Cache) fix(position uint32) {
	if !c.down(position) {
		c.up(position)
	}
}

func (c *Cache) up(p uint32) {
	for p > 0 {
		parent := (p - 1) / 2
		if !c.before(p, parent) {
			return
		}
		c.swap(p, parent)
		p = parent
	}
}

func (c *Cache) down(p uint32) (moved bool) {
	for {
		child := 2*p + 1
		if child >= uint32(len(c.heap)) {
			return moved
		}
		if child+1 < uint32(len(c.heap)) && c.before(child+1, child) {
			child++
		}
		if !c.before(child, p) {
			return moved
		}
		c.swap(p, child)
		p, moved = child, true
	}
}

func (c *Cache) before(p, q uint32) bool {
	return c.slot(c.heap[p]).due() < c.slot(c.heap[q]).due()
}

func (c *Cache) swap(p, q uint32) {
	c.heap[p], c.heap[q] = c.heap[q], c.heap[p]
	c.slot(c.heap[p]).position = p
	c.slot(c.heap[q]).position = q
}
