"""COVID-19 lesions in chest CT: the data, the preprocessing and the protocol around pladapt."""
