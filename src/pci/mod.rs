//! PCI addresses and configuration space, decoded. Pure: no file is read here.
