"""Fresh processes: what they are asked, how they run, how they end."""
